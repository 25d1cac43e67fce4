package wasm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
	"github.com/catenary-run/catenary/sandbox/wasm/image"
	"github.com/catenary-run/catenary/sandbox/wasm/rewrite"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

const pageBytes = 64 << 10

// program is a rewritten module, compiled, in an engine of its own.
type program struct {
	manifest *functions.Manifest
	limits   functions.Limits
	command  *command          // nil for a reactor
	data     []rewrite.Segment // to be written before the start of a guest that can be captured
	start    string            // the export to call first, if any

	cache wazero.CompilationCache
	rt    wazero.Runtime
	mod   wazero.CompiledModule
}

// compile compiles wasm, or loads what an earlier compile left in codeDir. The caller closes the program.
func compile(ctx context.Context, m *functions.Manifest, wasm []byte, codeDir string) (*program, error) {
	p := &program{manifest: m, limits: m.Limits.WithDefaults()}
	var err error
	if m.Kind == functions.KindWASI {
		if p.command, err = parseCommand(m); err != nil {
			return nil, err
		}
	}
	if p.cache, err = wazero.NewCompilationCacheWithDir(codeDir); err != nil {
		return nil, fmt.Errorf("open the code cache: %w", err)
	}
	p.rt = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().
		WithCoreFeatures(features).WithCompilationCache(p.cache).WithDebugInfoEnabled(false))
	if err := p.load(ctx, wasm); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// load gives the engine the module and what it imports.
func (p *program) load(ctx context.Context, wasm []byte) (err error) {
	if p.mod, err = p.rt.CompileModule(ctx, wasm); err != nil {
		return fmt.Errorf("%w: function %s: compile: %w", functions.ErrInvalid, p.manifest.Name, err)
	}
	if err := checkImports(p.manifest, p.mod); err != nil {
		return err
	}
	return bindImports(ctx, p.rt, p.mod)
}

// features are the parts of WebAssembly that guests can use.
const features = api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall

func (p *program) close() error {
	ctx := context.Background()
	return errors.Join(p.rt.Close(ctx), p.cache.Close(ctx))
}

// guest is one instance of a program.
type guest struct {
	mod     api.Module
	mem     *image.Memory
	globals []api.MutableGlobal // those of its image, in the same order
	clock   clock
	nextFD  int32
	entry   entry
	trapped bool // it stopped in a way that it did not choose, and neither did the host
}

// entry is an export that was called last, with the stack that the engine has made for it. To make it anew takes as long
// as the rest of a small call. It is kept after short calls only: what a long one may have grown it to, up to 50 MB, goes
// with that call.
type entry struct {
	name string
	call api.Function
}

// shortCall is too little time for a stack to grow beyond a few MiB: to grow is to copy it.
const shortCall = time.Millisecond

// instantiate makes a guest with the given memory, which it owns from then on. A module that can't be captured runs
// its start section here.
func (p *program) instantiate(c *call, mem *image.Memory) (*guest, error) {
	ctx := experimental.WithMemoryAllocator(withCall(c.ctx, c),
		experimental.MemoryAllocatorFunc(func(uint64, uint64) experimental.LinearMemory { return mem }))
	mod, err := p.rt.InstantiateModule(ctx, p.mod, wazero.NewModuleConfig().WithName("").WithStartFunctions().WithRandSource(rand.Reader))
	if err != nil {
		mem.Free()
		return nil, err
	}
	return &guest{mod: mod, mem: mem, clock: c.clock, nextFD: c.nextFD}, nil
}

// boot starts a guest from nothing: its data, its start section, and _initialize of a reactor. Its error wraps
// functions.ErrColdStart.
func (p *program) boot(c *call) (*guest, error) {
	mem, err := image.NewPlainMemory(p.limits.MemBytes, p.data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", functions.ErrColdStart, err)
	}
	g, err := p.instantiate(c, mem)
	if err != nil {
		return nil, p.startFailed(c.outcome(err, mem.Refused()), c)
	}
	for _, name := range []string{p.start, abi.Initialize} {
		if name == "" || name == abi.Initialize && p.command != nil || g.mod.ExportedFunction(name) == nil {
			continue
		}
		if err := g.enter(c, name, nil); err != nil || c.exited {
			g.close()
			return nil, p.startFailed(err, c)
		}
	}
	return g, nil
}

func (p *program) startFailed(err error, c *call) error {
	if c.exited {
		err = c.exit()
	}
	return fmt.Errorf("%w: start of function %s: %w", functions.ErrColdStart, p.manifest.Name, err)
}

// enter calls an export on behalf of c. Stack holds the parameters and gets the result. If the guest has ended by
// proc_exit, c.exited says so and there is no error, unless the memory limit was met.
func (g *guest) enter(c *call, export string, stack []uint64) error {
	if g.entry.name != export {
		g.entry = entry{export, g.mod.ExportedFunction(export)}
	}
	began := time.Now()
	err := g.entry.call.CallWithStack(withCall(c.ctx, c), stack)
	if err != nil || time.Since(began) > shortCall {
		g.entry = entry{}
	}
	c.stdout.flush()
	c.stderr.flush()
	g.nextFD = c.nextFD
	g.trapped = g.trapped || err != nil && !c.orderly()
	return c.outcome(err, g.mem.Refused())
}

// orderly reports whether a guest that did not return was unwound by the host for a reason that is no fault: the end of
// the call's context, a limit, a command's own exit.
func (c *call) orderly() bool {
	if c.stop != nil {
		return !errors.Is(c.stop, functions.ErrTrap)
	}
	return c.exited && c.manifest.Kind == functions.KindWASI
}

// findGlobals looks up the globals of an image.
func (g *guest) findGlobals(names []string) error {
	g.globals = make([]api.MutableGlobal, len(names))
	for i, name := range names {
		global, ok := g.mod.ExportedGlobal(name).(api.MutableGlobal)
		if !ok {
			return fmt.Errorf("the image has a global %s that the module has not", name)
		}
		g.globals[i] = global
	}
	return nil
}

// outcome classifies how a guest stopped: err is the engine's error, refused whether it wanted more memory than allowed.
func (c *call) outcome(err error, refused bool) error {
	if err == nil {
		return nil
	}
	guilty := c.stop == nil || errors.Is(c.stop, functions.ErrTrap) // the guest's own doing
	switch {
	case refused && guilty && !(c.exited && c.exitCode == 0):
		return c.memoryLimit()
	case c.stop != nil:
		return c.stop
	case c.exited:
		return nil
	}
	if _, ours := errors.AsType[runtime.Error](err); ours {
		return fmt.Errorf("function %s: a host function crashed: %w", c.manifest.Name, err) // with its stack
	}
	text, _, _ := strings.Cut(err.Error(), "\n") // what follows is a stack
	text = strings.TrimPrefix(text, "wasm error: ")
	return c.trapped(text)
}

// memoryLimit is what any failure becomes once the guest was refused memory: out of memory ends in many ways.
func (c *call) memoryLimit() error {
	return fmt.Errorf("%w: function %s may have %d bytes of memory: raise limits.mem", functions.ErrMemoryLimit, c.manifest.Name, c.manifest.Limits.WithDefaults().MemBytes)
}

// trapped returns a crash, with what the guest said last.
func (c *call) trapped(how string) error {
	if c.stderr.last != "" {
		how += ": " + c.stderr.last
	}
	return fmt.Errorf("%w: function %s: %s", functions.ErrTrap, c.manifest.Name, how)
}

// exit returns what proc_exit of a reactor is: a crash, whatever the code, since it has a call to answer.
func (c *call) exit() error { return c.trapped(fmt.Sprintf("exit status %d", c.exitCode)) }

// close frees the guest, which must have stopped.
func (g *guest) close() error {
	err := g.mod.Close(context.Background())
	g.mem.Free()
	return err
}
