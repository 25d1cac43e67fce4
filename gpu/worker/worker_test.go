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
	loads, tokens, clears atomic.Int64
	steps                 []int         // how many generations each was of; by who has the turn
	tokenTime             time.Duration // of a step, whoever is in it
	hang                  chan struct{} // if set, generation waits for it, as C does that hangs
	err                   error         // of loads
	each                  time.Duration // of a step, for each that is in it, on top
	stepErr               error         // of steps
	slots                 int           // of each model; 0: 2
}

func (e *fakeEngine) Version() string { return "fake" }

func (e *fakeEngine) Load(path string, _ llama.Options) (Model, llama.Residency, error) {
	e.loads.Add(1)
	if e.err != nil {
		return nil, llama.Residency{}, e.err
	}
	if e.slots == 0 {
		e.slots = 2
	}
	return &fakeModel{engine: e, awake: true, past: make([]string, e.slots)}, llama.Residency{Bytes: 7, MemBytes: 7}, nil
}

// fakeModel answers with its prompt's content, over and over. What its slots have read are the contents, joined.
type fakeModel struct {
	engine *fakeEngine
	awake  bool
	closed bool
	busy   atomic.Bool
	past   []string
}

func (m *fakeModel) Slots() int { return len(m.past) }

func (m *fakeModel) Start(slot int, req functions.Generation) (Generation, error) {
	if m.closed || !m.awake {
		return nil, fmt.Errorf("%w: closed %v, awake %v", functions.ErrConflict, m.closed, m.awake)
	}
	prompt := ""
	for _, msg := range req.Messages {
		prompt += msg.Content
	}
	if prompt == "" {
		return nil, fmt.Errorf("%w: no prompt", functions.ErrInvalid)
	}
	reused := 0
	for reused < min(len(prompt)-1, len(m.past[slot])) && prompt[reused] == m.past[slot][reused] {
		reused++
	}
	m.past[slot] = prompt
	return &fakeGeneration{m: m, slot: slot, prompt: prompt, reused: reused, left: req.MaxTokens}, nil
}

func (m *fakeModel) Clear(slot int) error {
	m.engine.clears.Add(1)
	m.past[slot] = ""
	return nil
}

type fakeGeneration struct {
	m            *fakeModel
	slot, reused int
	prompt       string
	left         int
}

func (g *fakeGeneration) Prompt() (tokens, reused int) { return len(g.prompt), g.reused }

func (m *fakeModel) Step(gens []Generation) ([]llama.Result, error) {
	if !m.busy.CompareAndSwap(false, true) || m.closed || !m.awake {
		panic("two calls at the same time, or one of a model that is not awake")
	}
	defer m.busy.Store(false)
	if m.engine.hang != nil {
		<-m.engine.hang
	}
	m.engine.steps = append(m.engine.steps, len(gens))
	time.Sleep(m.engine.tokenTime + time.Duration(len(gens))*m.engine.each)
	if m.engine.stepErr != nil {
		return nil, m.engine.stepErr
	}
	var results []llama.Result
	for _, g := range gens {
		g := g.(*fakeGeneration)
		m.engine.tokens.Add(1)
		g.left--
		tok := functions.Token{Text: g.prompt}
		if g.left == 0 {
			tok.Finish = "length"
		}
		results = append(results, llama.Result{Token: tok, OK: true, Read: 1})
	}
	return results, nil
}

func (g *fakeGeneration) End() {}

func (m *fakeModel) Park() llama.Residency {
	m.awake = false
	clear(m.past)
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

// request asks for tokens that repeat content. It grants credit for more than any test asks for.
func request(id, content string, tokens int32) *gpuv1.GenerateRequest {
	return &gpuv1.GenerateRequest{Id: id, MaxTokens: tokens, Credit: 1000, Messages: []*gpuv1.Message{{Role: "user", Content: content}}}
}

func open(ctx context.Context, t testing.TB, c gpuv1.WorkerClient, req *gpuv1.GenerateRequest) gpuv1.Worker_GenerateClient {
	t.Helper()
	stream, err := c.Generate(ctx)
	if err == nil {
		err = stream.Send(req)
	}
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// answer is what came of one request.
type answer struct {
	text, finish   string
	tokens         int
	prompt, reused int32
	worked         time.Duration
	batches        []int32
	err            error
}

func ask(ctx context.Context, t testing.TB, c gpuv1.WorkerClient, req *gpuv1.GenerateRequest) (a answer) {
	t.Helper()
	stream := open(ctx, t, c, req)
	for {
		res, err := stream.Recv()
		if err == io.EOF {
			return a
		}
		if err != nil {
			a.err = gpuv1.ErrorOf(ctx, err)
			return a
		}
		a.text, a.finish = a.text+res.GetText(), res.GetFinish()
		a.tokens++
		a.prompt += res.GetPromptTokens()
		a.reused += res.GetReusedTokens()
		a.worked += time.Duration(res.GetDeviceNanos())
		a.batches = append(a.batches, res.GetBatch())
	}
}

func generate(ctx context.Context, t testing.TB, c gpuv1.WorkerClient, id, content string, tokens int32) (text, finish string, err error) {
	t.Helper()
	a := ask(ctx, t, c, request(id, content, tokens))
	return a.text, a.finish, a.err
}

func load(t testing.TB, c gpuv1.WorkerClient) {
	t.Helper()
	if _, err := c.Load(t.Context(), &gpuv1.LoadRequest{Id: "m"}); err != nil {
		t.Fatal(err)
	}
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
		if _, _, err := generate(ctx, t, c, "m", "x", 1); !errors.Is(err, functions.ErrNotFound) {
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
		if text, finish, err := generate(ctx, t, c, "m", "ab", 3); text != "ababab" || finish != "length" || err != nil {
			t.Errorf("got %q, %q, %v", text, finish, err)
		}
		if p, err := c.Park(ctx, &gpuv1.ParkRequest{Id: "m"}); err != nil || p.GetResidency().GetBytes() != 7 || p.GetResidency().GetMemBytes() != 0 {
			t.Errorf("park: %v, %v", p, err)
		}
		if _, _, err := generate(ctx, t, c, "m", "x", 1); !errors.Is(err, functions.ErrConflict) {
			t.Errorf("parked: got %v, want the model's own error", err)
		}
		if w, err := c.Wake(ctx, &gpuv1.WakeRequest{Id: "m"}); err != nil || w.GetResidency().GetMemBytes() != 7 {
			t.Errorf("wake: %v, %v", w, err)
		}
		if _, _, err := generate(ctx, t, c, "m", "x", 1); err != nil {
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

func TestCancelStopsAtTheNextToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{tokenTime: time.Second}
		c, stop := serveFake(t, newService(engine, nil))
		if _, err := c.Load(t.Context(), &gpuv1.LoadRequest{Id: "m"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		if _, _, err := generate(ctx, t, c, "m", "x", 100); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
		time.Sleep(time.Minute)
		if n := engine.tokens.Load(); n != 4 {
			t.Errorf("%d tokens were decoded, want 4: the one under way is the last", n)
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
			_, _, err := generate(t.Context(), t, c, "m", "x", 100)
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
			_, _, err := generate(t.Context(), t, c, "m", "x", 1)
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
