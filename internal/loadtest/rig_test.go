package loadtest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/coldstart"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/wasm"
)

// prepareEnv marks a process that prepares a guest: it is the test binary itself, built without the race detector, under
// which the compiler takes ten times as long.
const prepareEnv = "CATENARY_LOADTEST_PREPARE"

func TestMain(m *testing.M) {
	if os.Getenv(prepareEnv) != "" {
		if err := wasm.PrepareMain(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// soak returns large if the tests are to be as large as the promises say, and small otherwise.
func soak(small, large int) int {
	if os.Getenv("CATENARY_SOAK") == "1" {
		return large
	}
	return small
}

// number is what passes between the guests.
type number struct {
	N    int  `json:"n"`
	Fail bool `json:"fail"`
}

func numberItem(t testing.TB, v number) functions.Item {
	t.Helper()
	b, err := value.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return functions.Item{Value: b}
}

// node has pools of guests, and an engine that is none.
type node struct {
	pools     *coldstart.Pools
	engine    *engine
	manifests map[functions.Digest]*functions.Manifest
	byName    map[string]*functions.Manifest
	files     map[functions.Digest]string
	models    map[string]*functions.Model
}

func (n *node) Manifest(_ context.Context, ref functions.Ref) (*functions.Manifest, error) {
	return n.manifests[ref.Digest], nil
}

func (n *node) Path(_ context.Context, d functions.Digest) (string, error) { return n.files[d], nil }

// newNode builds the named guests and starts pools of them.
func newNode(t *testing.T, port functions.Port, names ...string) *node {
	t.Helper()
	preparer := filepath.Join(t.TempDir(), "preparer")
	build := exec.Command("go", "test", "-c", "-o", preparer, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the preparer: %v: %s", err, msg)
	}
	driver, err := wasm.New(wasm.Config{
		Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Prepare: func(ctx context.Context) *exec.Cmd {
			cmd := exec.CommandContext(ctx, preparer)
			cmd.Env = append(os.Environ(), prepareEnv+"=1")
			return cmd
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{
		engine: &engine{}, manifests: map[functions.Digest]*functions.Manifest{}, byName: map[string]*functions.Manifest{},
		files: map[functions.Digest]string{}, models: map[string]*functions.Model{},
	}
	var refs []functions.Ref
	dir := t.TempDir()
	for _, name := range names {
		file := filepath.Join(dir, name+".wasm")
		testkit.GoBuildWASM(t, filepath.Join("internal", "loadtest", "guests", name), file)
		artifact, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m := &functions.Manifest{
			Name: name, Kind: functions.KindWASM, Artifact: functions.DigestOf(artifact), In: port, Out: port,
			Limits: functions.Limits{MemBytes: guestMemory},
		}
		if name == "ask" {
			m.Uses.Models = []string{"llm"}
			n.models["llm"] = &functions.Model{Name: "llm", Engine: "llama", File: functions.DigestOf(nil)}
		}
		n.manifests[m.Digest()], n.byName[name], n.files[m.Artifact] = m, m, file
		refs = append(refs, m.Ref())
	}
	config := coldstart.DefaultConfig()
	config.QueueDepth = 2000
	config.MemBytes = 8 << 30
	n.pools, err = coldstart.New(config, coldstart.Deps{Drivers: []sandbox.Driver{driver}, Manifests: n, Artifacts: n, Models: n.engine})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.pools.Run(ctx) }() // joined by the cleanup
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if _, err := n.pools.Prepare(t.Context(), refs, nil); err != nil {
		t.Fatal(err)
	}
	return n
}

// guestMemory is the most that one guest may have.
const guestMemory = 64 << 20

// plan returns a row of steps, each a call of a function of the node.
func (n *node) plan(t *testing.T, names ...string) *chains.Plan {
	t.Helper()
	c := spec.Chain{Name: "load"}
	from := spec.Input
	for i, name := range names {
		st := spec.Step{Name: fmt.Sprintf("%s-%d", name, i), Op: spec.OpCall, Func: name, From: from}
		c.Steps = append(c.Steps, st)
		from, c.Out = st.Name, st.Name
	}
	g, err := chains.NewGraph(c, n.byName, n.models)
	if err != nil {
		t.Fatal(err)
	}
	p, err := chains.Compile(g, n.byName)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// engine is a model that answers 7 with 70, 71 and 72, a token after the other. It counts what is open.
type engine struct {
	open     atomic.Int64 // generations
	sessions sync.Map     // that have asked, and not ended
}

const tokensPerAnswer = 3

func (e *engine) Generate(ctx context.Context, _ functions.Ref, req functions.Generation) (functions.Tokens, error) {
	n, err := strconv.Atoi(req.Messages[0].Content)
	if err != nil {
		return nil, err
	}
	e.open.Add(1)
	e.sessions.Store(req.Session, true)
	return &answer{e: e, ctx: ctx, next: n * 10}, nil
}

func (e *engine) Wake(context.Context, functions.Ref) error    { return nil }
func (e *engine) Prepare(context.Context, functions.Ref) error { return nil }
func (e *engine) EndSession(session string)                    { e.sessions.Delete(session) }

type answer struct {
	e      *engine
	ctx    context.Context // of the generation: a turn's, perhaps
	next   int
	given  int
	closed bool
}

func (a *answer) Recv(ctx context.Context) (functions.Token, error) {
	if a.given == tokensPerAnswer {
		return functions.Token{}, io.EOF
	}
	select {
	case <-time.After(time.Millisecond): // an engine takes its time
	case <-ctx.Done():
		return functions.Token{}, context.Cause(ctx)
	case <-a.ctx.Done():
		return functions.Token{}, context.Cause(a.ctx)
	}
	a.given++
	a.next++
	return functions.Token{Text: strconv.Itoa(a.next - 1)}, nil
}

func (a *answer) Close() error {
	if !a.closed {
		a.closed = true
		a.e.open.Add(-1)
	}
	return nil
}
