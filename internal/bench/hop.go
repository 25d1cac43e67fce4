package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/coldstart"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/plugin"
)

const (
	hopRounds  = 40
	hopBlock   = 25 // runs of one arm in a row, then it is the next one's turn
	hopPayload = 1 << 10
	blobBytes  = 1 << 20
	longChain  = 5
	services   = 3 // of the orchestrators
)

// benchHop measures what a step adds to a chain: chains of one and of five echoes of 1 KB, one run or one item at a time.
// The floor is goroutines and channels; the peers are an orchestrator before three services in processes of their own.
func benchHop(ctx context.Context, rec *recorder) error {
	dir, err := os.MkdirTemp("", "catenary-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rig, err := newHopRig(ctx, dir, func(c *coldstart.Config) { c.MaxPlugins = longChain })
	if err != nil {
		return err
	}
	defer rig.stop()
	if err := rig.prepareBlobs(ctx); err != nil {
		return err
	}
	peers, stop, err := startPeers(ctx)
	if err != nil {
		return err
	}
	defer stop()
	bare, stop, err := startPlugins()
	defer stop()
	if err != nil {
		return err
	}
	peers = append(peers, bare)

	arms := []hopArm{{"goroutines and channels", hopLines{1: channels(1), longChain: channels(longChain)}, 0}}
	for _, kind := range []struct{ name, how, mode string }{
		{"WASM steps, one value", "wasm", "one"}, {"WASM steps, an item of a stream", "wasm", "stream"},
		{"plugin steps, one value", "plugin", "one"}, {"plugin steps, an item of a stream", "plugin", "stream"},
	} {
		lines := hopLines{}
		for _, n := range []int{1, longChain} {
			if lines[n], err = rig.line(ctx, kind.how, kind.mode, n); err != nil {
				return fmt.Errorf("%s: %w", kind.name, err)
			}
		}
		arms = append(arms, hopArm{kind.name, lines, 0})
		if kind.how == "wasm" && kind.mode == "one" { // two cores that share one do not do two things at once for nothing
			arms = append(arms, hopArm{kind.name + ", on one core", lines, 1})
		}
	}
	for _, p := range peers {
		arms = append(arms, hopArm{p.name, hopLines{services: p.call}, 0})
	}
	data := bytes.Repeat([]byte{0x5a}, hopPayload)
	err = rec.rounds(1, hopRounds, func(to *recorder) error {
		for _, a := range arms {
			if err := a.block(ctx, to, data); err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
		}
		return rig.blobs(ctx, to)
	})
	if err != nil {
		return err
	}
	for _, a := range arms[1:] {
		rec.ratio(a.name+": a hop / that of goroutines and channels", a.name+": a hop", arms[0].name+": a hop")
	}
	for _, p := range peers {
		rec.ratio(p.name+": a hop / that of WASM steps, one value", p.name+": a hop", "WASM steps, one value: a hop")
	}
	for _, how := range []string{"one value", "an item of a stream"} {
		rec.ratio("plugin steps, "+how+": a hop / that of a bare go-plugin", "plugin steps, "+how+": a hop", bare.name+": a hop")
	}
	return nil
}

// hopLine passes some bytes through a row of steps and returns what comes out.
type hopLine func(ctx context.Context, data []byte) ([]byte, error)

// hopLines are rows by how many steps they have.
type hopLines map[int]hopLine

type hopArm struct {
	name  string
	lines hopLines
	cores int // for this process; 0: all
}

// block runs each row of an arm some times and records what a hop took: with two rows, the difference by step; with
// one, its share.
func (a hopArm) block(ctx context.Context, rec *recorder, data []byte) error {
	if a.cores > 0 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(a.cores))
	}
	took := map[int]time.Duration{}
	for range hopBlock {
		for n, line := range a.lines {
			start := time.Now()
			got, err := line(ctx, data)
			took[n] = time.Since(start)
			if err == nil && !bytes.Equal(got, data) {
				err = fmt.Errorf("%d bytes went in and other %d came out", len(data), len(got))
			}
			if err != nil {
				return err
			}
			rec.Add(fmt.Sprintf("%s: %d", a.name, n), "us", float64(took[n])/1e3)
		}
		hop := took[services] / services
		if a.lines[services] == nil {
			hop = (took[longChain] - took[1]) / (longChain - 1)
		}
		rec.Add(a.name+": a hop", "us", float64(hop)/1e3)
	}
	return nil
}

// channels is a row of goroutines that pass on what comes.
func channels(n int) hopLine {
	first := make(chan []byte)
	last := first
	for range n {
		from, to := last, make(chan []byte)
		go func() { // until the process ends
			for data := range from {
				to <- data
			}
		}()
		last = to
	}
	return func(_ context.Context, data []byte) ([]byte, error) {
		first <- data
		return <-last, nil
	}
}

// hopRig is a node with functions that echo.
type hopRig struct {
	dir   string
	has   deployed
	pools *coldstart.Pools
	stops []func()

	blob     *chains.Plan
	data     functions.Item
	memcpyTo []byte
}

func newHopRig(ctx context.Context, dir string, configure func(*coldstart.Config)) (*hopRig, error) {
	r := &hopRig{dir: dir, has: deployed{map[functions.Digest]*functions.Manifest{}, map[functions.Digest]string{}}}
	wasmDriver, err := newDriver(filepath.Join(dir, "wasm"))
	if err != nil {
		return nil, err
	}
	confine, err := buildBinary(ctx, dir, "catenary", "./cmd/catenary", "", nil)
	if err != nil {
		return nil, err
	}
	pluginDriver, err := plugin.New(plugin.Config{Dir: filepath.Join(dir, "plugins"), Confine: []string{confine, "confine"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	config := coldstart.DefaultConfig()
	configure(&config)
	r.pools, err = coldstart.New(config, coldstart.Deps{Drivers: []sandbox.Driver{wasmDriver, pluginDriver}, Manifests: r.has, Artifacts: r.has, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.pools.Run(running) }()
	r.stops = append(r.stops, func() { cancel(); <-ended })
	return r, nil
}

// stop ends what the rig has started, the last first.
func (r *hopRig) stop() {
	for i := len(r.stops) - 1; i >= 0; i-- {
		r.stops[i]()
	}
}

// buildBinary compiles a package of this module.
func buildBinary(ctx context.Context, dir, name, pkg, flags string, env []string) (string, error) {
	file := filepath.Join(dir, name)
	args := []string{"build", "-trimpath", "-ldflags", "-s -w " + flags, "-o", file}
	if len(env) > 0 {
		args = append(args, "-buildmode=c-shared")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, msg)
	}
	return file, nil
}

// echo adds an echo function to the node.
func (r *hopRig) echo(ctx context.Context, how, mode string) (*functions.Manifest, error) {
	name := how + "-" + mode
	flags := fmt.Sprintf("-X main.name=%s -X main.mode=%s", name, mode)
	var env []string
	kind := functions.KindPlugin
	if how == "wasm" {
		env, kind = []string{"GOOS=wasip1", "GOARCH=wasm"}, functions.KindWASM
	}
	file, err := buildBinary(ctx, r.dir, name, "./internal/bench/echo", flags, env)
	if err != nil {
		return nil, err
	}
	artifact, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	port := functions.Port{Schema: functions.SchemaFor[[]byte](), Stream: mode == "stream"}
	switch mode {
	case "blob":
		port.Schema = functions.SchemaFor[functions.Blob]()
	case "record":
		port.Schema = functions.SchemaFor[record]()
	}
	m := &functions.Manifest{
		Name: name, Kind: kind, Artifact: functions.DigestOf(artifact), In: port, Out: port,
		Limits: functions.Limits{MemBytes: 256 << 20},
	}
	switch mode {
	case "one":
		m.Sample, err = value.Encode(make([]byte, hopPayload))
	case "record":
		m.Sample, err = value.Encode(newRecord())
	case "json":
		var text []byte
		if text, err = json.Marshal(newRecord()); err == nil {
			m.Sample, err = value.Encode(text)
		}
	}
	if err != nil {
		return nil, err
	}
	r.has.manifests[m.Digest()], r.has.files[m.Artifact] = m, file
	_, err = r.pools.Prepare(ctx, []functions.Ref{m.Ref()}, nil)
	return m, err
}

// plan returns a chain of n steps that call m.
func plan(m *functions.Manifest, n int) (*chains.Plan, error) {
	chain := spec.Chain{Name: "hops"}
	from := spec.Input
	for i := range n {
		name := fmt.Sprintf("s%d", i)
		chain.Steps = append(chain.Steps, spec.Step{Name: name, Op: spec.OpCall, Func: m.Name, From: from})
		from, chain.Out = name, name
	}
	manifests := map[string]*functions.Manifest{m.Name: m}
	graph, err := chains.NewGraph(chain, manifests, nil)
	if err != nil {
		return nil, err
	}
	return chains.Compile(graph, manifests)
}

// line returns a row of n steps: what passes is a run of its own, or an item of one run that goes on.
func (r *hopRig) line(ctx context.Context, how, mode string, n int) (hopLine, error) {
	m, err := r.echo(ctx, how, mode)
	if err != nil {
		return nil, err
	}
	p, err := plan(m, n)
	if err != nil {
		return nil, err
	}
	if mode == "stream" {
		return r.session(ctx, p)
	}
	return func(ctx context.Context, data []byte) ([]byte, error) {
		it, err := itemOf(data)
		if err != nil {
			return nil, err
		}
		var got functions.Item
		_, err = p.Run(ctx, chains.Run{ID: "bench", Invoker: r.pools, In: functions.Items(it), Out: functions.SinkFunc(func(_ context.Context, it functions.Item) error {
			got = it
			return nil
		})})
		if err != nil {
			return nil, err
		}
		return bytesOf(got)
	}, nil
}

// session starts a run whose input goes on until the rig stops.
func (r *hopRig) session(ctx context.Context, p *chains.Plan) (hopLine, error) {
	in, out := functions.NewStream(0, 0), functions.NewStream(0, 0)
	run, err := p.Start(ctx, chains.Run{ID: "bench", Invoker: r.pools, In: in, Out: out})
	if err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := run.Wait()
		if err == nil {
			err = errors.New("the run has ended")
		}
		out.CloseSend(err)
	}()
	r.stops = append(r.stops, func() { in.CloseSend(nil); <-ended })
	return func(ctx context.Context, data []byte) ([]byte, error) {
		it, err := itemOf(data)
		if err == nil {
			err = in.Send(ctx, it)
		}
		if err != nil {
			return nil, err
		}
		if it, err = out.Recv(ctx); err != nil {
			return nil, err
		}
		return bytesOf(it)
	}, nil
}

func itemOf(data []byte) (functions.Item, error) {
	v, err := value.Encode(data)
	return functions.Item{Value: v}, err
}

func bytesOf(it functions.Item) (data []byte, err error) {
	return data, value.Decode(it.Value, &data)
}

// prepareBlobs makes the chain whose step reads a blob of 1 MB and writes it anew.
func (r *hopRig) prepareBlobs(ctx context.Context) error {
	m, err := r.echo(ctx, "wasm", "blob")
	if err != nil {
		return err
	}
	if r.blob, err = plan(m, 1); err != nil {
		return err
	}
	att := functions.Attach("application/octet-stream", make([]byte, blobBytes))
	v, err := value.Encode(att.Blob)
	r.data = functions.Item{Value: v, Blobs: []functions.Attachment{att}}
	r.memcpyTo = make([]byte, blobBytes)
	return err
}

// blobs measures a blob of 1 MB through a step that reads it and writes it anew, beside one copy of it, and beside the
// digest that names what was written.
func (r *hopRig) blobs(ctx context.Context, rec *recorder) error {
	data := r.data.Blobs[0].Data
	start := time.Now()
	copy(r.memcpyTo, data)
	rec.Add("1 MB blob: memcpy", "us", float64(time.Since(start))/1e3)
	start = time.Now()
	functions.DigestOf(data)
	rec.Add("1 MB blob: digest", "us", float64(time.Since(start))/1e3)
	start = time.Now()
	var got functions.Item
	_, err := r.blob.Run(ctx, chains.Run{ID: "bench", Invoker: r.pools, In: functions.Items(r.data), Out: functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		got = it
		return nil
	})})
	if err == nil && (len(got.Blobs) != 1 || got.Blobs[0].Digest != r.data.Blobs[0].Digest) {
		err = errors.New("another blob came back")
	}
	rec.Add("1 MB blob: a WASM step that reads it and writes it anew", "us", float64(time.Since(start))/1e3)
	return err
}
