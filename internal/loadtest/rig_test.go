package loadtest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/coldstart"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/plugin"
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
	code := m.Run()
	testkit.RemoveCatenary()
	os.Exit(code)
}

// soak returns large if the tests are to be as large as the promises say, and small otherwise.
func soak(small, large int) int {
	if os.Getenv("CATENARY_SOAK") == "1" {
		return large
	}
	return small
}

// node has pools of guests and plugins, and a model.
type node struct {
	pools     *coldstart.Pools
	manifests map[functions.Digest]*functions.Manifest
	byName    map[string]*functions.Manifest
	files     map[functions.Digest]string
	models    map[string]*functions.Model
}

func (n *node) Manifest(_ context.Context, ref functions.Ref) (*functions.Manifest, error) {
	return n.manifests[ref.Digest], nil
}

func (n *node) Path(_ context.Context, d functions.Digest) (string, error) { return n.files[d], nil }

// parts is what a node is made of.
type parts struct {
	port    functions.Port   // of all functions, on both sides
	guests  []string         // folders below guests
	plugins []string         // folders below plugins
	llm     *functions.Model // of the guests ask and chat
	engine  coldstart.Models
	config  coldstart.Config
}

// newNode builds the functions and starts pools of them.
func newNode(t *testing.T, parts parts) *node {
	t.Helper()
	preparer := filepath.Join(t.TempDir(), "preparer")
	build := exec.Command("go", "test", "-c", "-o", preparer, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the preparer: %v: %s", err, msg)
	}
	guests, err := wasm.New(wasm.Config{
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
	drivers := []sandbox.Driver{guests}
	if len(parts.plugins) > 0 {
		plugins, err := plugin.New(plugin.Config{
			Dir: t.TempDir(), Confine: []string{testkit.Catenary(t), "confine"}, StartTimeout: time.Minute, // for many at once on a busy machine
		})
		if err != nil {
			t.Fatal(err)
		}
		drivers = append(drivers, plugins)
	}
	n := &node{
		manifests: map[functions.Digest]*functions.Manifest{}, byName: map[string]*functions.Manifest{},
		files: map[functions.Digest]string{}, models: map[string]*functions.Model{},
	}
	var refs, models []functions.Ref
	if parts.llm != nil {
		n.models[parts.llm.Name] = parts.llm
		models = append(models, parts.llm.Ref())
	}
	add := func(m functions.Manifest, file string) {
		artifact, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m.Artifact, m.In, m.Out = functions.DigestOf(artifact), parts.port, parts.port
		n.manifests[m.Digest()], n.byName[m.Name], n.files[m.Artifact] = &m, &m, file
		refs = append(refs, m.Ref())
	}
	dir := t.TempDir()
	for _, name := range parts.guests {
		file := filepath.Join(dir, name+".wasm")
		testkit.GoBuildWASM(t, filepath.Join("internal", "loadtest", "guests", name), file)
		m := functions.Manifest{Name: name, Kind: functions.KindWASM, Limits: functions.Limits{MemBytes: guestMemory}}
		if name == "ask" || name == "chat" {
			m.Uses.Models = []string{parts.llm.Name}
		}
		add(m, file)
	}
	for _, name := range parts.plugins {
		file := filepath.Join(dir, name)
		testkit.GoBuild(t, filepath.Join("internal", "loadtest", "plugins", name), file, nil)
		add(functions.Manifest{Name: name, Kind: functions.KindPlugin}, file)
	}
	n.pools, err = coldstart.New(parts.config, coldstart.Deps{
		Drivers: drivers, Manifests: n, Artifacts: n, Models: parts.engine,
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, n.pools.Run)
	if _, err := n.pools.Prepare(t.Context(), refs, models); err != nil {
		t.Fatal(err)
	}
	return n
}

// config returns that of pools with room for many streams.
func config() coldstart.Config {
	c := coldstart.DefaultConfig()
	c.MemBytes = 8 << 30
	return c
}

// run runs what works in the background until the test ends.
func run(t *testing.T, background func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- background(ctx) }() // joined by the cleanup
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
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

// Verify implements functions.Blobs: nothing here is ever damaged.
func (*node) Verify(context.Context, functions.Digest) (bool, error) { return false, nil }
