package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
	"github.com/catenary-run/catenary/gpu/llama"
)

// fakeEngine counts what is done with it.
type fakeEngine struct {
	loads, tokens atomic.Int64
	tokenTime     time.Duration
	hang          chan struct{} // if set, generation waits for it, deaf to its context
	err           error
}

func (e *fakeEngine) Version() string { return "fake" }

func (e *fakeEngine) Load(path string, _ llama.Options) (Model, llama.Residency, error) {
	e.loads.Add(1)
	if e.err != nil {
		return nil, llama.Residency{}, e.err
	}
	return &fakeModel{engine: e, awake: true}, llama.Residency{Bytes: 7, MemBytes: 7}, nil
}

type fakeModel struct {
	engine *fakeEngine
	awake  bool
	closed bool
	busy   bool
}

func (m *fakeModel) Generate(ctx context.Context, req functions.Generation, emit func(functions.Token) error) error {
	if m.busy || m.closed || !m.awake {
		return fmt.Errorf("%w: busy %v, closed %v, awake %v", functions.ErrConflict, m.busy, m.closed, m.awake)
	}
	m.busy = true
	defer func() { m.busy = false }()
	if m.engine.hang != nil {
		<-m.engine.hang
	}
	for i := range req.MaxTokens {
		select {
		case <-time.After(m.engine.tokenTime):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		tok := functions.Token{Text: req.Messages[0].Content}
		if i == req.MaxTokens-1 {
			tok.Finish = "length"
		}
		if err := emit(tok); err != nil {
			return err
		}
		m.engine.tokens.Add(1)
	}
	return nil
}

func (m *fakeModel) Park() llama.Residency {
	m.awake = false
	return llama.Residency{Bytes: 7}
}

func (m *fakeModel) Wake() (llama.Residency, error) {
	m.awake = true
	return llama.Residency{Bytes: 7, MemBytes: 7}, nil
}

func (m *fakeModel) Close() { m.closed = true }

// serveFake runs a worker in memory. Its stop ends the lifeline and returns what serve returned.
func serveFake(t *testing.T, svc *service) (client gpuv1.WorkerClient, stop func() error) {
	lis := bufconn.Listen(64 << 10)
	lifeline, parent := io.Pipe()
	ready, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serve(t.Context(), Config{Lifeline: lifeline, Stdout: out}.withDefaults(), lis, svc) }()
	line := make([]byte, len(gpuv1.Ready)+1)
	if _, err := io.ReadFull(ready, line); err != nil || string(line) != gpuv1.Ready+"\n" {
		t.Fatalf("got %q, %v, want the line that says ready", line, err)
	}
	conn, err := grpc.NewClient("passthrough:///worker",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	return gpuv1.NewWorkerClient(conn), func() error {
		_ = parent.Close()
		err := <-ended
		_ = conn.Close()
		return err
	}
}

func generate(ctx context.Context, c gpuv1.WorkerClient, id, content string, tokens int32) (text, finish string, err error) {
	stream, err := c.Generate(ctx, &gpuv1.GenerateRequest{Id: id, MaxTokens: tokens, Messages: []*gpuv1.Message{{Role: "user", Content: content}}})
	for err == nil {
		var res *gpuv1.GenerateResponse
		if res, err = stream.Recv(); err == nil {
			text, finish = text+res.GetText(), res.GetFinish()
		}
	}
	if err == io.EOF {
		return text, finish, nil
	}
	return text, finish, gpuv1.ErrorOf(ctx, err)
}

func TestLifeOfAModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{}
		c, stop := serveFake(t, newService(engine, nil))
		ctx := t.Context()
		d, err := c.Describe(ctx, &gpuv1.DescribeRequest{})
		if err != nil || d.GetDevice() != "cpu" || d.GetVersion() != "fake" || d.GetUnavailable() != "" {
			t.Errorf("describe: %v, %v", d, err)
		}
		if _, _, err := generate(ctx, c, "m", "x", 1); !errors.Is(err, functions.ErrNotFound) {
			t.Errorf("before the load: got %v, want ErrNotFound", err)
		}
		for range 2 {
			l, err := c.Load(ctx, &gpuv1.LoadRequest{Id: "m", Path: "p"})
			if err != nil || l.GetResidency().GetMemBytes() != 7 {
				t.Errorf("load: %v, %v", l, err)
			}
		}
		if n := engine.loads.Load(); n != 1 {
			t.Errorf("loaded %d times, want once", n)
		}
		if text, finish, err := generate(ctx, c, "m", "ab", 3); text != "ababab" || finish != "length" || err != nil {
			t.Errorf("got %q, %q, %v", text, finish, err)
		}
		if p, err := c.Park(ctx, &gpuv1.ParkRequest{Id: "m"}); err != nil || p.GetResidency().GetBytes() != 7 || p.GetResidency().GetMemBytes() != 0 {
			t.Errorf("park: %v, %v", p, err)
		}
		if _, _, err := generate(ctx, c, "m", "x", 1); !errors.Is(err, functions.ErrConflict) {
			t.Errorf("parked: got %v, want the model's own error", err)
		}
		if w, err := c.Wake(ctx, &gpuv1.WakeRequest{Id: "m"}); err != nil || w.GetResidency().GetMemBytes() != 7 {
			t.Errorf("wake: %v, %v", w, err)
		}
		if _, _, err := generate(ctx, c, "m", "x", 1); err != nil {
			t.Error(err)
		}
		for range 2 {
			if _, err := c.Unload(ctx, &gpuv1.UnloadRequest{Id: "m"}); err != nil {
				t.Errorf("unload: %v", err)
			}
		}
		if _, err := c.Wake(ctx, &gpuv1.WakeRequest{Id: "m"}); !errors.Is(gpuv1.ErrorOf(t.Context(), err), functions.ErrNotFound) {
			t.Errorf("unloaded: got %v, want ErrNotFound", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestRefusedLoadLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{err: fmt.Errorf("%w: broken", functions.ErrInvalid)}
		svc := newService(engine, nil)
		c, stop := serveFake(t, svc)
		for range maxModels + 1 {
			if _, err := c.Load(t.Context(), &gpuv1.LoadRequest{Id: "m"}); !errors.Is(gpuv1.ErrorOf(t.Context(), err), functions.ErrInvalid) {
				t.Fatalf("got %v, want ErrInvalid", err)
			}
		}
		if n := len(svc.models); n != 0 {
			t.Errorf("%d models are kept", n)
		}
		if _, err := c.Load(t.Context(), &gpuv1.LoadRequest{}); !errors.Is(gpuv1.ErrorOf(t.Context(), err), functions.ErrInvalid) {
			t.Errorf("no id: got %v, want ErrInvalid", err)
		}
		engine.err = nil
		for i := range maxModels {
			if _, err := c.Load(t.Context(), &gpuv1.LoadRequest{Id: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Load(t.Context(), &gpuv1.LoadRequest{Id: "one more"}); !errors.Is(gpuv1.ErrorOf(t.Context(), err), functions.ErrMemoryLimit) {
			t.Errorf("one model too many: got %v, want ErrMemoryLimit", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestOneCallAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{tokenTime: time.Second}
		c, stop := serveFake(t, newService(engine, nil))
		if _, err := c.Load(t.Context(), &gpuv1.LoadRequest{Id: "m"}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		results := make(chan error, 3)
		for range 2 {
			go func() {
				_, _, err := generate(t.Context(), c, "m", "x", 5)
				results <- err
			}()
		}
		leaving, leave := context.WithCancel(t.Context())
		go func() {
			_, _, err := generate(leaving, c, "m", "x", 5)
			results <- err
		}()
		time.Sleep(500 * time.Millisecond)
		leave()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("the one that left: %v", err)
		}
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		// The one that left may have been the first: its half token then is all that it cost.
		if took := time.Since(began); took != 10*time.Second && took != 10500*time.Millisecond {
			t.Errorf("took %v, want the two one after the other", took)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestCancelStopsAtTheNextToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{tokenTime: time.Second}
		c, stop := serveFake(t, newService(engine, nil))
		if _, err := c.Load(t.Context(), &gpuv1.LoadRequest{Id: "m"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		if _, _, err := generate(ctx, c, "m", "x", 100); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
		time.Sleep(time.Minute)
		if n := engine.tokens.Load(); n != 3 {
			t.Errorf("%d tokens were decoded, want 3", n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestNoEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, stop := serveFake(t, newService(nil, fmt.Errorf("%w: install it", functions.ErrNoDevice)))
		d, err := c.Describe(t.Context(), &gpuv1.DescribeRequest{})
		if err != nil || !strings.Contains(d.GetUnavailable(), "install it") {
			t.Errorf("describe: %v, %v", d, err)
		}
		if _, err := c.Load(t.Context(), &gpuv1.LoadRequest{Id: "m"}); !errors.Is(gpuv1.ErrorOf(t.Context(), err), functions.ErrNoDevice) {
			t.Errorf("load: got %v, want ErrNoDevice", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestEndOfTheLifelineEndsTheCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{tokenTime: time.Second}
		c, stop := serveFake(t, newService(engine, nil))
		if _, err := c.Load(t.Context(), &gpuv1.LoadRequest{Id: "m"}); err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() {
			_, _, err := generate(t.Context(), c, "m", "x", 100)
			result <- err
		}()
		time.Sleep(1500 * time.Millisecond)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if err := <-result; !errors.Is(err, gpuv1.ErrBroken) {
			t.Errorf("got %v, want ErrBroken", err)
		}
	})
}

func TestACallThatHangsDoesNotHoldTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{hang: make(chan struct{})}
		c, stop := serveFake(t, newService(engine, nil))
		if _, err := c.Load(t.Context(), &gpuv1.LoadRequest{Id: "m"}); err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() {
			_, _, err := generate(t.Context(), c, "m", "x", 1)
			result <- err
		}()
		time.Sleep(time.Second)
		began := time.Now()
		if err := stop(); err == nil || time.Since(began) != stopGrace {
			t.Errorf("got %v after %v, want an error after %v", err, time.Since(began), stopGrace)
		}
		<-result
		close(engine.hang) // in the real process the exit ends it
	})
}

func TestMainNeedsAPrivateFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	err := Main(t.Context(), Config{Socket: filepath.Join(dir, "s"), Lifeline: strings.NewReader(""), Stdout: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "700") {
		t.Errorf("got %v, want the folder to be refused", err)
	}
}

func TestMainLeavesNothing(t *testing.T) {
	dir, err := os.MkdirTemp("", "w-") // a test's own folder may have too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	lifeline, parent := io.Pipe()
	ready, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Main(t.Context(), Config{Socket: socket, Lifeline: lifeline, Stdout: out}) }()
	if _, err := io.ReadFull(ready, make([]byte, len(gpuv1.Ready)+1)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v, want mode 600", info, err)
	}
	_ = parent.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}
