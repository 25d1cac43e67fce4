package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
	"github.com/catenary-run/catenary/sandbox/wasm/image"
	"github.com/catenary-run/catenary/sandbox/wasm/rewrite"
	"github.com/tetratelabs/wazero/api"
)

// layout is raised when what Prepare leaves changes its meaning: other code in rewrite, another order of the boot.
const layout = 3

// engine names all that makes what one build of this program has prepared useless to another.
func engine() string {
	wazero := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/tetratelabs/wazero" {
				wazero = dep.Version
			}
		}
	}
	return fmt.Sprintf("layout %d, wazero %s, %s/%s", layout, wazero, runtime.GOOS, runtime.GOARCH)
}

// Files in the folder of a prepared version.
const (
	preparedFile = "prepared.json" // written last: its presence says that the rest is complete
	stubFile     = "stub.wasm"
)

// prepared is what Prepare notes about a version beside its module and image.
type prepared struct {
	Engine    string           `json:"engine"`
	FuelSlice int32            `json:"fuel_slice"`
	Version   functions.Digest `json:"version"`
	Module    functions.Digest `json:"module"`  // of the rewritten module
	Stub      functions.Digest `json:"stub"`    // of its stub, which is what is loaded
	Native    string           `json:"native"`  // the file of its native code, below the module's folder of compiled code
	NextFD    int32            `json:"next_fd"` // the first descriptor that the captured guest has not seen
	Captured  bool             `json:"captured"`
	Why       string           `json:"why,omitempty"`
	Sum       functions.Digest `json:"sum"` // of all the rest: a file whose bytes have changed may still be JSON
}

// sum returns what Sum should be.
func (d prepared) sum() functions.Digest {
	d.Sum = ""
	b, err := json.Marshal(d)
	if err != nil {
		panic("wasm: " + err.Error()) // texts and numbers always have a form
	}
	return functions.DigestOf(b)
}

// order is what a preparation is asked for.
type order struct {
	Manifest  *functions.Manifest `json:"manifest"`
	Artifact  string              `json:"artifact"` // its file
	Dir       string              `json:"dir"`      // where the files of the version go
	CodeDir   string              `json:"code_dir"` // below it, compiled code goes into a folder named by its module
	FuelSlice int32               `json:"fuel_slice"`
}

// PrepareMain is the other side of Config.Prepare: it reads one order from stdin, carries it out and writes the outcome
// to stdout. It lowers the priority of its process, which should end afterwards.
func PrepareMain(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	lowerPriority()
	var o order
	if err := json.NewDecoder(stdin).Decode(&o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	var out outcome
	log := func(level slog.Level, line string) { out.Lines = append(out.Lines, logLine{level, line}) }
	var err error
	if out.Prepared, err = prepare(ctx, &o, log); err != nil {
		out.Failure = functions.FailureOf(err)
	}
	return json.NewEncoder(stdout).Encode(out)
}

// outcome is what PrepareMain writes.
type outcome struct {
	Prepared *prepared          `json:"prepared,omitempty"`
	Failure  *functions.Failure `json:"failure,omitempty"`
	Lines    []logLine          `json:"lines,omitempty"` // what the guest logged
}

type logLine struct {
	Level slog.Level `json:"level"`
	Line  string     `json:"line"`
}

// prepare makes the files of a version: the stub of the rewritten module, its native code and, if it can be captured, its
// image.
func prepare(ctx context.Context, o *order, log func(slog.Level, string)) (*prepared, error) {
	artifact, err := readArtifact(o.Manifest, o.Artifact)
	if err != nil {
		return nil, err
	}
	mod, err := rewrite.Rewrite(artifact, rewrite.Options{FuelSlice: o.FuelSlice})
	if err != nil {
		return nil, fmt.Errorf("function %s: %w", o.Manifest.Name, err)
	}
	if err := checkModule(o.Manifest, mod); err != nil {
		return nil, err
	}
	done := &prepared{
		Engine: engine(), FuelSlice: o.FuelSlice, Version: o.Manifest.Digest(), Module: functions.DigestOf(mod.Wasm),
		Why: whyNot(o.Manifest, mod),
	}
	done.Captured = done.Why == ""
	codeDir := filepath.Join(o.CodeDir, done.Module.Hex())
	p, stub, key, err := prepareNative(ctx, o.Manifest, mod.Wasm, codeDir, o.Dir)
	if err != nil {
		return nil, err
	}
	defer p.close()
	done.Stub, done.Native = functions.DigestOf(stub), key
	if err := p.checkExports(); err != nil {
		return nil, err
	}
	p.data, p.start = mod.Data, mod.Start

	w := &warmer{p: p, ctx: ctx, host: bootHost{log}}
	g, err := w.start(done.Captured)
	if err != nil {
		return nil, err
	}
	defer g.close()
	if done.Captured {
		done.NextFD = g.nextFD
		done.Why = w.note
		if err := capture(g, mod, done, o.Dir); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(o.Dir, stubFile), stub, 0o600); err != nil {
		return nil, err
	}
	return done, done.save(o.Dir)
}

// readArtifact reads the artifact and checks that it is the one that the manifest names.
func readArtifact(m *functions.Manifest, path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("function %s: artifact: %w", m.Name, err)
	}
	if d := functions.DigestOf(b); d != m.Artifact {
		return nil, fmt.Errorf("%w: function %s: the artifact has the digest %s, the manifest names %s", functions.ErrInvalid, m.Name, d.Short(), m.Artifact.Short())
	}
	return b, nil
}

// checkModule reports what the module lacks to be what the manifest says.
func checkModule(m *functions.Manifest, mod *rewrite.Module) error {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("%w: function %s: "+format, append([]any{functions.ErrInvalid, m.Name}, args...)...)
	}
	for _, im := range mod.Imports {
		switch {
		case im.Module == abi.FuelModule:
			return fault("the module imports %s.%s, which is for the host alone", im.Module, im.Name)
		case im.Kind != rewrite.KindFunc:
			return fault("the module imports %s.%s, which is no function", im.Module, im.Name)
		}
	}
	kind, ok := mod.Exports[abi.Memory]
	if !ok || kind != rewrite.KindMemory {
		return fault("the module exports no memory")
	}
	call := abi.Call
	if m.Kind == functions.KindWASI {
		call = abi.Start
	}
	if kind, ok := mod.Exports[call]; !ok || kind != rewrite.KindFunc {
		if mod.Command {
			return fault("the module exports no function %s: it is a WASI command, so its kind is wasi; a Go guest is built with -buildmode=c-shared", call)
		}
		return fault("the module exports no function %s: it is not of kind %s", call, m.Kind)
	}
	if limit := m.Limits.WithDefaults().MemBytes; int64(mod.MemMinPages)*pageBytes > limit {
		return fault("the module starts with %d bytes of memory and limits.mem is %d", int64(mod.MemMinPages)*pageBytes, limit)
	}
	return nil
}

// checkExports reports exports with other signatures than the ABI's.
func (p *program) checkExports() error {
	i32, i64 := api.ValueTypeI32, api.ValueTypeI64
	type signature struct{ params, results []api.ValueType }
	for name, want := range map[string]signature{
		abi.Call:       {[]api.ValueType{i32, i32}, []api.ValueType{i32}},
		abi.Prepare:    {[]api.ValueType{i64}, nil},
		abi.Initialize: {},
		abi.Start:      {},
	} {
		def, ok := p.mod.ExportedFunctions()[name]
		if ok && (string(def.ParamTypes()) != string(want.params) || string(def.ResultTypes()) != string(want.results)) {
			return fmt.Errorf("%w: function %s: the export %s has another signature than the ABI", functions.ErrInvalid, p.manifest.Name, name)
		}
	}
	return nil
}

// whyNot says why no image can be taken, or nothing.
func whyNot(m *functions.Manifest, mod *rewrite.Module) string {
	switch {
	case m.Image == "off":
		return "the manifest says image: off"
	case !canMap:
		return "images need Linux on amd64 or arm64"
	}
	return mod.Uncapturable
}

// capture writes the guest's image.
func capture(g *guest, mod *rewrite.Module, done *prepared, dir string) error {
	meta := image.Meta{ModuleHash: string(done.Module), Engine: done.Engine, ClockBase: g.clock.now()}
	for _, global := range mod.Globals {
		meta.GlobalNames = append(meta.GlobalNames, global.Export)
		meta.Globals = append(meta.Globals, g.mod.ExportedGlobal(global.Export).Get())
	}
	mem := g.mem.Bytes()
	meta.Seeds = image.FindSeeds(mem)
	if err := image.Write(dir, meta, mem); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	return nil
}

func (d *prepared) save(dir string) error {
	d.Sum = d.sum()
	b, err := json.MarshalIndent(d, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, preparedFile), append(b, '\n'), 0o600)
}

// bootHost is what a guest can reach while it is prepared: its log.
type bootHost struct{ log func(slog.Level, string) }

func (bootHost) Turns() *functions.Turns { return nil }

func (h bootHost) Generate(_ context.Context, model string, _ functions.Generation) (functions.Tokens, error) {
	return nil, fmt.Errorf("%w: model %s can't be asked while the function is prepared", functions.ErrDenied, model)
}

func (h bootHost) Log(level slog.Level, line string) { h.log(level, line) }

// warmer brings a guest to the state that is captured.
type warmer struct {
	p    *program
	ctx  context.Context // of the preparation
	host functions.Host
	note string // why the warm-up was left out
}

// start boots a guest. To be captured it is also warmed, so that what a first call does once, such as filling caches, is
// in the image. A call that crashes leaves half of its state behind: then another guest is started and left cold.
func (w *warmer) start(captured bool) (*guest, error) {
	g, err := w.boot()
	if err != nil || !captured || w.p.command != nil {
		return g, err
	}
	if err := w.warm(g); err != nil {
		if cerr := g.close(); cerr != nil {
			return nil, cerr
		}
		if w.ctx.Err() != nil {
			return nil, context.Cause(w.ctx)
		}
		w.note = "the warm-up failed, so the image is of a cold guest: " + functions.OneLine(err)
		return w.boot()
	}
	return g, nil
}

func (w *warmer) boot() (*guest, error) {
	ctx, cancel := limitStart(w.ctx, w.p.manifest)
	defer cancel(nil)
	c := newCall(ctx, cancel, w.p.manifest, w.host, startClock(firstClock), firstFD)
	defer c.end()
	return w.p.boot(c)
}

// warm runs the sample, lets the guest tidy up, and runs it again: tidying empties what the first run filled.
func (w *warmer) warm(g *guest) error {
	steps := []func(*guest) error{w.sample, w.tidy, w.sample}
	for _, step := range steps {
		if err := step(g); err != nil {
			return err
		}
	}
	return nil
}

// sample runs the manifest's sample, if there is one. That the function fails in good order is no fault: it may have
// wanted a model.
func (w *warmer) sample(g *guest) error {
	if len(w.p.manifest.Sample) == 0 {
		return nil
	}
	ctx, cancel := limitStart(w.ctx, w.p.manifest)
	defer cancel(nil)
	c := newCall(ctx, cancel, w.p.manifest, w.host, g.clock, g.nextFD)
	defer c.end()
	var dropped functions.SinkFunc = func(context.Context, functions.Item) error { return nil }
	err := w.p.serve(c, g, functions.Items(functions.Item{Value: w.p.manifest.Sample}), dropped)
	if c.stop == nil && !errors.Is(err, functions.ErrTrap) && !errors.Is(err, functions.ErrMemoryLimit) {
		return nil
	}
	return err
}

// tidy calls the guest's own preparation, if it has one.
func (w *warmer) tidy(g *guest) error {
	if g.mod.ExportedFunction(abi.Prepare) == nil {
		return nil
	}
	ctx, cancel := limitStart(w.ctx, w.p.manifest)
	defer cancel(nil)
	c := newCall(ctx, cancel, w.p.manifest, w.host, g.clock, g.nextFD)
	defer c.end()
	err := g.enter(c, abi.Prepare, []uint64{uint64(w.p.limits.MemBytes)})
	if err == nil && c.exited {
		return c.exit()
	}
	return err
}
