package gpu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/llama"
	"github.com/catenary-run/catenary/gpu/openai/openaitest"
	gpuworker "github.com/catenary-run/catenary/gpu/worker"
	"github.com/catenary-run/catenary/internal/testkit"
)

// TestMain is the worker, a server and an endpoint, too: the tests start this binary again with such a word as its first
// argument.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "worker":
			os.Exit(workerMain(os.Args[2:]))
		case "server":
			os.Exit(serverMain(os.Args[2:]))
		case "endpoint":
			os.Exit(openaitest.Main(os.Args[2:]))
		case "host":
			os.Exit(hostMain(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

func workerMain(args []string) int {
	var cfg gpuworker.Config
	for len(args) >= 2 {
		switch args[0] {
		case "--socket":
			cfg.Socket = args[1]
		case "--llama-lib":
			cfg.LlamaLib = args[1]
		}
		args = args[2:]
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := gpuworker.Main(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestSlotsOfConfig(t *testing.T) {
	if maxSlots != llama.MaxSlots {
		t.Errorf("the runtime takes up to %d slots, the engine %d", maxSlots, llama.MaxSlots)
	}
	for _, bad := range []Config{{Slots: -1}, {Slots: maxSlots + 1}, {CacheBytes: -1}} {
		bad.Command, bad.Dir, bad.Models = noCommand, "unused", catalogue{}
		if err := bad.Validate(); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("%d slots in %d bytes: got %v, want ErrInvalid", bad.Slots, bad.CacheBytes, err)
		}
	}
}

// catalogue is a Source of files.
type catalogue map[functions.Digest]struct {
	model functions.Model
	path  string
}

func (c catalogue) Model(_ context.Context, ref functions.Ref) (*functions.Model, error) {
	e, ok := c[ref.Digest]
	if !ok {
		return nil, fmt.Errorf("%w: no model %s", functions.ErrNotFound, ref)
	}
	return &e.model, nil
}

func (c catalogue) ModelFile(_ context.Context, m *functions.Model) (string, error) {
	return c[m.Digest()].path, nil
}

// add names a file as a model.
func (c catalogue) add(name, path string) functions.Ref {
	m := functions.Model{Name: name, Engine: "llama", File: functions.DigestOf([]byte(name)), Context: 256}
	c[m.Digest()] = struct {
		model functions.Model
		path  string
	}{m, path}
	return m.Ref()
}

func tinyFile(t testing.TB) string {
	return filepath.Join(testkit.Root(t), "examples", "voice", "model", "tiny-q8.gguf")
}

// real is a Runtime that runs, with this binary as its worker.
type real struct {
	*Runtime
	dir    string
	last   atomic.Pointer[exec.Cmd] // of the last worker
	starts atomic.Int64
	stop   func()
}

func startReal(t testing.TB, models catalogue, change func(*Config)) *real {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rt := &real{dir: t.TempDir()}
	cfg := Config{
		Command: func() *exec.Cmd {
			cmd := exec.Command(exe, "worker")
			cmd.Env = []string{"GORACE=atexit_sleep_ms=0"} // or each worker under the race detector ends a second late
			rt.last.Store(cmd)
			rt.starts.Add(1)
			return cmd
		},
		Dir:      rt.dir,
		LlamaLib: testkit.LlamaLib(t),
		Models:   models,
		Log:      slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&cfg)
	}
	cfg.Engine = func() error { return llama.Check(cfg.LlamaLib) }
	rt.Runtime = New(cfg)
	rt.stop = run(t, rt.Runtime)
	t.Cleanup(func() {
		rt.stop()
		if cmd := rt.last.Load(); cmd != nil && cmd.ProcessState == nil {
			t.Error("the worker was not reaped")
		}
		if left, _ := filepath.Glob(filepath.Join(rt.dir, "catenary-*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return rt
}

// run starts r.Run and returns a func that ends it and waits. It may be called more than once.
func run(t testing.TB, r *Runtime) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

func ask(text string) functions.Generation {
	return functions.Generation{Messages: []functions.Message{{Role: "user", Content: text}}}
}

// read reads tokens to their end.
func read(ctx context.Context, tokens functions.Tokens) (text string, count int, finish string, err error) {
	for {
		tok, err := tokens.Recv(ctx)
		if err == io.EOF {
			return text, count, finish, nil
		}
		if err != nil {
			return text, count, finish, err
		}
		text += tok.Text
		finish = tok.Finish
		count++
	}
}

// answerOf asks and reads the whole answer.
func answerOf(ctx context.Context, r *Runtime, ref functions.Ref, req functions.Generation) (string, int, error) {
	tokens, err := r.Generate(ctx, ref, req)
	if err != nil {
		return "", 0, err
	}
	defer tokens.Close()
	text, count, _, err := read(ctx, tokens)
	return text, count, err
}

func statusOf(t testing.TB, r *Runtime, ref functions.Ref) ModelStatus {
	t.Helper()
	for _, s := range r.Status() {
		if s.Version == ref.Digest {
			return s
		}
	}
	t.Fatalf("no status of %s", ref)
	return ModelStatus{}
}
