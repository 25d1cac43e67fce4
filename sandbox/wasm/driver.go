package wasm

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
	"sync"
	"sync/atomic"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/wasm/rewrite"
)

// Config is what a driver needs.
type Config struct {
	// Dir is the folder for what is prepared. It is made if need be, for its owner alone: compiled code in it is
	// trusted like the binary itself.
	Dir string
	// Prepare returns a command, not started, that runs PrepareMain on its standard input and output and ends with
	// ctx. Nil prepares in this process, at its priority: for tests.
	Prepare func(ctx context.Context) *exec.Cmd
	// Log gets what guests write while they are prepared; nil is slog's default.
	Log *slog.Logger
	// FuelSlice is how much a guest does between two looks at its context; 0 takes rewrite.DefaultFuelSlice.
	FuelSlice int32
}

// Driver runs functions of kind wasm and wasi. It may be used from many goroutines.
type Driver struct {
	cfg      Config
	versions string // folder: one folder per version
	code     string // folder: one folder per rewritten module

	instances atomic.Uint64 // numbers instances
	prepares  atomic.Int64  // preparations that were carried out

	one sync.Map // version -> gate: one preparation of a version at a time
	cpu gate     // one preparation at all: each takes a core and memory for the compiler
}

// New returns a driver on its folder. It removes what a preparation that was cut off has left there, so a folder has
// one driver.
func New(cfg Config) (*Driver, error) {
	if cfg.Dir == "" {
		return nil, fmt.Errorf("%w: wasm: Config.Dir is empty", functions.ErrInvalid)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.FuelSlice <= 0 {
		cfg.FuelSlice = rewrite.DefaultFuelSlice
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	d := &Driver{cfg: cfg, versions: filepath.Join(dir, "versions"), code: filepath.Join(dir, "code"), cpu: newGate()}
	for _, folder := range []string{dir, d.versions, d.code} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
		if err := os.Chmod(folder, 0o700); err != nil {
			return nil, err
		}
	}
	unfinished, err := filepath.Glob(filepath.Join(d.versions, unfinishedPrefix+"*"))
	if err != nil {
		return nil, err
	}
	for _, folder := range unfinished {
		if err := os.RemoveAll(folder); err != nil {
			return nil, err
		}
	}
	return d, nil
}

const unfinishedPrefix = "unfinished-"

// Kinds returns wasm and wasi.
func (d *Driver) Kinds() []functions.Kind {
	return []functions.Kind{functions.KindWASM, functions.KindWASI}
}

// Prepare compiles the artifact, starts it and takes its image, or finds what an earlier Prepare left.
func (d *Driver) Prepare(ctx context.Context, m *functions.Manifest, artifact string) (*sandbox.Image, error) {
	version := m.Digest()
	img := &sandbox.Image{Manifest: m, Version: version, Artifact: artifact, Dir: filepath.Join(d.versions, version.Hex())}
	done, err := d.prepare(ctx, img)
	if err != nil {
		return nil, err
	}
	img.Captured, img.Why = done.Captured, done.Why
	return img, nil
}

// prepare finds or makes the files of a version.
func (d *Driver) prepare(ctx context.Context, img *sandbox.Image) (*prepared, error) {
	entry, _ := d.one.LoadOrStore(img.Version, newGate())
	version := entry.(gate)
	if err := version.enter(ctx); err != nil {
		return nil, err
	}
	defer version.leave()
	done, err := d.find(img)
	if err == nil {
		return done, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		d.cfg.Log.WarnContext(ctx, "prepare a function anew: what is in the cache is of no use", "func", img.Manifest.Name, "err", err)
	}
	if err := d.cpu.enter(ctx); err != nil {
		return nil, err
	}
	defer d.cpu.leave()
	return d.make(ctx, img)
}

// gate lets one in at a time.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g gate) leave() { <-g }

// find returns what was prepared, if this program can use it. Its error wraps os.ErrNotExist if there is nothing, and
// errDamaged if it is of no use.
func (d *Driver) find(img *sandbox.Image) (*prepared, error) {
	b, err := os.ReadFile(filepath.Join(img.Dir, preparedFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var done prepared
	if err == nil {
		err = json.Unmarshal(b, &done)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v", errDamaged, preparedFile, err)
	}
	if done.Sum != done.sum() {
		return nil, fmt.Errorf("%w: %s has changed", errDamaged, preparedFile)
	}
	if done.Engine != engine() || done.Version != img.Version || done.FuelSlice != d.cfg.FuelSlice {
		return nil, fmt.Errorf("%w: prepared by %s for version %s", errDamaged, done.Engine, done.Version.Short())
	}
	// Compiled code that is gone would be compiled here at the first Load, at the expense of those who wait. Whether
	// module, code and image are whole is found out by Load, which has to read them all.
	if folderBytes(d.codeDir(&done)) == 0 {
		return nil, fmt.Errorf("%w: its compiled code is gone", errDamaged)
	}
	return &done, nil
}

// codeDir is the folder of the compiled code of a prepared version.
func (d *Driver) codeDir(done *prepared) string { return filepath.Join(d.code, done.Module.Hex()) }

// make prepares a version in a folder of its own and moves that into place when it is complete.
func (d *Driver) make(ctx context.Context, img *sandbox.Image) (done *prepared, err error) {
	d.prepares.Add(1)
	work, err := os.MkdirTemp(d.versions, unfinishedPrefix)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	o := &order{Manifest: img.Manifest, Artifact: img.Artifact, Dir: work, CodeDir: d.code, FuelSlice: d.cfg.FuelSlice}
	if o.Artifact, err = filepath.Abs(o.Artifact); err != nil {
		return nil, err
	}
	log := func(level slog.Level, line string) { d.cfg.Log.Log(ctx, level, line, "func", img.Manifest.Name) }
	if d.cfg.Prepare == nil {
		done, err = prepare(ctx, o, log)
	} else {
		done, err = d.order(ctx, o, log)
	}
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(img.Dir); err != nil {
		return nil, err
	}
	return done, os.Rename(work, img.Dir)
}

// order has a process of its own prepare: the compiler takes seconds of a core and its memory goes with it.
func (d *Driver) order(ctx context.Context, o *order, log func(slog.Level, string)) (*prepared, error) {
	in, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	cmd := d.cfg.Prepare(ctx)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &stdout, &stderr
	err = runBound(cmd)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var out outcome
	if err == nil {
		err = json.Unmarshal(stdout.Bytes(), &out)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the process that prepares function %s: %w: %s", functions.ErrColdStart, o.Manifest.Name, err, lastLine(stderr.Bytes()))
	}
	for _, l := range out.Lines {
		log(l.Level, l.Line)
	}
	if out.Failure != nil {
		return nil, out.Failure
	}
	if out.Prepared == nil {
		return nil, fmt.Errorf("%w: the process that prepares function %s gave no answer", functions.ErrColdStart, o.Manifest.Name)
	}
	return out.Prepared, nil
}

func lastLine(b []byte) string {
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(lines[len(lines)-1])
}
