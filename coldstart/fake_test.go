package coldstart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
)

// fake is a driver whose instances take the time that a test says. Its functions send back what they get.
type fake struct {
	prepare, load, start, work, closing time.Duration // what each takes, by default
	startOf                             map[string]time.Duration
	spent                               bool // instances serve once
	mortal                              bool // instances have a Done
	codeBytes, instBytes                int64

	// Hooks, called if set. They run in the goroutine of the driver's caller.
	onPrepare func(m *functions.Manifest) error
	onStart   func(m *functions.Manifest, n int) error // n counts the starts from 1
	onServe   func(ctx context.Context, inst *fakeInstance, in functions.Source, out functions.Sink, host functions.Host) error
	onReset   func() error

	mu        sync.Mutex // guards the fields below
	n         counts
	instances []*fakeInstance
}

// counts are what a fake has been asked for, and what is there.
type counts struct{ prepares, loads, starts, codes, live, maxLive int }

// counts returns them once everything has settled.
func (f *fake) counts() counts {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func (f *fake) Kinds() []functions.Kind {
	return []functions.Kind{functions.KindWASM, functions.KindPlugin}
}

func (f *fake) count(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// sleep is work that ends with ctx.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *fake) Prepare(ctx context.Context, m *functions.Manifest, artifact string) (*sandbox.Image, error) {
	f.count(func() { f.n.prepares++ })
	if err := sleep(ctx, f.prepare); err != nil {
		return nil, err
	}
	if f.onPrepare != nil {
		if err := f.onPrepare(m); err != nil {
			return nil, err
		}
	}
	return &sandbox.Image{Manifest: m, Version: m.Digest(), Artifact: artifact, Why: "a fake has none"}, nil
}

func (f *fake) Load(ctx context.Context, img *sandbox.Image) (sandbox.Code, error) {
	f.count(func() { f.n.loads++; f.n.codes++ })
	return &fakeCode{f: f, m: img.Manifest}, sleep(ctx, f.load)
}

type fakeCode struct {
	f    *fake
	m    *functions.Manifest
	live int // guarded by f.mu
}

func (c *fakeCode) MemBytes() int64 { return c.f.codeBytes }

func (c *fakeCode) New(ctx context.Context) (sandbox.Instance, error) {
	var n int
	c.f.count(func() { c.f.n.starts++; n = c.f.n.starts })
	start, ok := c.f.startOf[c.m.Name]
	if !ok {
		start = c.f.start
	}
	if err := sleep(ctx, start); err != nil {
		return nil, err
	}
	if c.f.onStart != nil {
		if err := c.f.onStart(c.m, n); err != nil {
			return nil, err
		}
	}
	inst := &fakeInstance{code: c, id: fmt.Sprintf("%s-%d", c.m.Name, n), done: make(chan struct{}), closed: make(chan struct{})}
	c.f.count(func() {
		c.live++
		c.f.n.live++
		c.f.n.maxLive = max(c.f.n.maxLive, c.f.n.live)
		c.f.instances = append(c.f.instances, inst)
	})
	return inst, nil
}

func (c *fakeCode) Close() error {
	c.f.count(func() { c.f.n.codes-- })
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if c.live > 0 {
		c.f.n.codes++ // so that the test fails
		return fmt.Errorf("%d instances are still open", c.live)
	}
	return nil
}

type fakeInstance struct {
	code         *fakeCode
	id           string
	done, closed chan struct{}
	once         sync.Once
	calls        int
}

func (i *fakeInstance) ID() string { return i.id }

func (i *fakeInstance) MemBytes() int64 { return i.code.f.instBytes }

func (i *fakeInstance) Serve(ctx context.Context, in functions.Source, out functions.Sink, host functions.Host) error {
	f := i.code.f
	i.calls++
	if f.spent && i.calls > 1 {
		return errors.New("a spent instance was used again")
	}
	if f.onServe != nil {
		return f.onServe(ctx, i, in, out, host)
	}
	return i.echo(ctx, in, out)
}

func (i *fakeInstance) echo(ctx context.Context, in functions.Source, out functions.Sink) error {
	for {
		it, err := in.Recv(ctx)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = sleep(ctx, i.code.f.work)
		}
		if err == nil {
			err = out.Send(ctx, it)
		}
		if err != nil {
			return err
		}
	}
}

func (i *fakeInstance) Reset(context.Context) error {
	if i.code.f.onReset != nil {
		return i.code.f.onReset()
	}
	if i.code.f.spent {
		return sandbox.ErrSpent
	}
	return nil
}

func (i *fakeInstance) Done() <-chan struct{} {
	if !i.code.f.mortal {
		return nil
	}
	return i.done
}

// die ends the instance as a kill of its process would.
func (i *fakeInstance) die() { i.once.Do(func() { close(i.done) }) }

func (i *fakeInstance) Close() error {
	select {
	case <-i.closed:
		return nil
	default:
		close(i.closed)
	}
	runtime.Gosched() // a call that sees it closed may well go on before this has ended
	i.die()
	time.Sleep(i.code.f.closing)
	i.code.f.count(func() { i.code.live--; i.code.f.n.live-- })
	return nil
}

// node is everything that Pools need, and Pools that run.
type node struct {
	*Pools
	driver    *fake
	models    *fakeModels
	manifests sync.Map     // functions.Digest to *functions.Manifest
	log       bytes.Buffer // read it when all has settled: one handler writes it, under its lock
	cancel    context.CancelFunc
	ran       chan error
}

func (n *node) Manifest(ctx context.Context, ref functions.Ref) (*functions.Manifest, error) {
	if m, ok := n.manifests.Load(ref.Digest); ok {
		return m.(*functions.Manifest), nil
	}
	return nil, fmt.Errorf("%w: no manifest %s", functions.ErrNotFound, ref)
}

func (n *node) Path(ctx context.Context, d functions.Digest) (string, error) { return d.Hex(), nil }

func (n *node) Verify(context.Context, functions.Digest) (bool, error) { return false, nil }

// function adds a function, and returns its ref. Change may be nil.
func (n *node) function(name string, change func(*functions.Manifest)) functions.Ref {
	m := &functions.Manifest{Name: name, Kind: functions.KindWASM, Artifact: functions.DigestOf([]byte(name))}
	if change != nil {
		change(m)
	}
	n.manifests.Store(m.Digest(), m)
	return m.Ref()
}

func plugin(m *functions.Manifest) { m.Kind = functions.KindPlugin }

// run tests pools in a bubble with a clock of its own. When test returns they are stopped, and nothing may be left.
func run(t *testing.T, driver *fake, configure func(*Config), test func(t *testing.T, n *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n, stop := start(t, driver, configure)
		defer stop()
		test(t, n)
	})
}

// tester is what a property and a test have in common.
type tester interface {
	Errorf(format string, args ...any)
	Fatal(args ...any)
}

// start runs pools in a bubble. Stop ends them, and nothing may be left.
func start(t tester, driver *fake, configure func(*Config)) (n *node, stop func()) {
	n = &node{driver: driver, models: &fakeModels{}, ran: make(chan error, 1)}
	config := DefaultConfig()
	config.MaxInstances, config.MaxPlugins, config.Spare, config.MemBytes = 8, 2, 0, 1<<30
	if configure != nil {
		configure(&config)
	}
	var err error
	n.Pools, err = New(config, Deps{Drivers: []sandbox.Driver{driver}, Manifests: n, Artifacts: n, Models: n.models, Log: slog.New(slog.NewTextHandler(&n.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() { n.ran <- n.Run(ctx) }()
	return n, func() {
		cancel()
		if err := <-n.ran; err != nil {
			t.Errorf("Run: %v", err)
		}
		if c := driver.counts(); c.live != 0 || c.codes != 0 {
			t.Errorf("%d instances and %d codes are left", c.live, c.codes)
		}
		if n.held != 0 || n.unused != 0 {
			t.Errorf("%d bytes, %d of them unused, are still on the books", n.held, n.unused)
		}
	}
}

// call makes one call with one item and fails the test if that does not come back.
func (n *node) call(t *testing.T, ref functions.Ref) functions.Timing {
	t.Helper()
	timing, err := n.try(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return timing
}

func (n *node) try(ctx context.Context, ref functions.Ref) (functions.Timing, error) {
	var got []functions.Item
	out := functions.SinkFunc(func(_ context.Context, it functions.Item) error { got = append(got, it); return nil })
	timing, err := n.Invoke(ctx, functions.Call{Ref: ref}, functions.Items(functions.Item{Value: []byte("x")}), out)
	if err == nil && (len(got) != 1 || string(got[0].Value) != "x") {
		err = fmt.Errorf("got %v back", got)
	}
	return timing, err
}

func (n *node) status(t *testing.T, ref functions.Ref) PoolStatus {
	t.Helper()
	all := n.Status()
	i := slices.IndexFunc(all, func(s PoolStatus) bool { return s.Version == ref.Digest })
	if i < 0 {
		t.Fatalf("no status of %s in %v", ref, all)
	}
	return all[i]
}

// want fails the test unless the version stands so once everything has settled.
func (n *node) want(t *testing.T, ref functions.Ref, tier Tier, instances int) {
	t.Helper()
	synctest.Wait()
	if s := n.status(t, ref); s.Tier != tier || s.Instances != instances {
		t.Fatalf("got %s with %d instances, want %s with %d", s.Tier, s.Instances, tier, instances)
	}
}

type fakeModels struct {
	wake, prepare func(ctx context.Context, ref functions.Ref) error
	mu            sync.Mutex
	asked         []functions.Ref      // by Generate; guarded by mu
	last          functions.Generation // asked for; guarded by mu
	open          int                  // generations; guarded by mu
	sessions      []string             // that Generate was given; guarded by mu
	over          []string             // that EndSession was given; guarded by mu
}

func (f *fakeModels) EndSession(session string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = append(f.over, session)
}

func (f *fakeModels) Wake(ctx context.Context, ref functions.Ref) error {
	if f.wake == nil {
		return nil
	}
	return f.wake(ctx, ref)
}

func (f *fakeModels) Prepare(ctx context.Context, ref functions.Ref) error {
	if f.prepare == nil {
		return nil
	}
	return f.prepare(ctx, ref)
}

func (f *fakeModels) Generate(ctx context.Context, ref functions.Ref, req functions.Generation) (functions.Tokens, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, ref)
	f.sessions = append(f.sessions, req.Session)
	f.last = req
	f.open++
	return &fakeTokens{f: f}, nil
}

type fakeTokens struct {
	f    *fakeModels
	once sync.Once
}

func (t *fakeTokens) Recv(context.Context) (functions.Token, error) { return functions.Token{}, io.EOF }

func (t *fakeTokens) Close() error {
	t.once.Do(func() {
		t.f.mu.Lock()
		defer t.f.mu.Unlock()
		t.f.open--
	})
	return nil
}
