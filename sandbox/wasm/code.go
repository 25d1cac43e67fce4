package wasm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/wasm/image"
	"github.com/catenary-run/catenary/sandbox/wasm/rewrite"
)

// Load maps the image and the compiled code of a version. What is damaged is prepared anew.
func (d *Driver) Load(ctx context.Context, img *sandbox.Image) (sandbox.Code, error) {
	c, err := d.load(ctx, img)
	if err == nil {
		return c, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if !errors.Is(err, errDamaged) && !errors.Is(err, functions.ErrInvalid) && !errors.Is(err, functions.ErrNotFound) && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	d.cfg.Log.WarnContext(ctx, "prepare a function anew: its cache can't be loaded", "func", img.Manifest.Name, "err", err)
	if err := d.forget(img); err != nil {
		return nil, err
	}
	if _, err := d.prepare(ctx, img); err != nil {
		return nil, err
	}
	c, err = d.load(ctx, img)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("%w: function %s: what was prepared can't be loaded, though it is new: %v", functions.ErrColdStart, img.Manifest.Name, err)
	}
	return c, nil
}

// forget removes the files of a version, with its compiled code.
func (d *Driver) forget(img *sandbox.Image) error {
	var code error
	if done, err := d.find(img); err == nil {
		code = os.RemoveAll(d.codeDir(done))
	}
	return errors.Join(code, os.RemoveAll(img.Dir))
}

func (d *Driver) load(ctx context.Context, img *sandbox.Image) (c *code, err error) {
	done, err := d.find(img)
	if err != nil {
		return nil, err
	}
	stub, err := os.ReadFile(filepath.Join(img.Dir, stubFile))
	if err != nil {
		return nil, err
	}
	if functions.DigestOf(stub) != done.Stub {
		return nil, fmt.Errorf("%w: %s", errDamaged, stubFile)
	}
	p, err := loadNative(ctx, img.Manifest, stub, d.codeDir(done), done.Native)
	if err != nil {
		return nil, err
	}
	c = &code{driver: d, program: p, prepared: done, bytes: int64(len(stub)) + folderBytes(d.codeDir(done))}
	if done.Captured {
		c.image, err = openImage(img, done)
	} else {
		err = d.bootData(p, img, done)
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return c, nil
}

// bootData tells a program that starts anew what an image would have held: data segments and the start function.
func (d *Driver) bootData(p *program, img *sandbox.Image, done *prepared) error {
	artifact, err := readArtifact(img.Manifest, img.Artifact)
	if err != nil {
		return err
	}
	mod, err := rewrite.Rewrite(artifact, rewrite.Options{FuelSlice: done.FuelSlice})
	if err != nil {
		return err
	}
	if functions.DigestOf(mod.Wasm) != done.Module {
		return fmt.Errorf("%w: the module was rewritten in another way", functions.ErrInvalid)
	}
	p.data, p.start = mod.Data, mod.Start
	return nil
}

// openImage opens the image of a prepared version, if it is of its module.
func openImage(img *sandbox.Image, done *prepared) (*image.Image, error) {
	snapshot, err := image.Open(img.Dir)
	if err != nil {
		return nil, err
	}
	if meta := snapshot.Meta(); meta.ModuleHash != string(done.Module) || meta.Engine != done.Engine {
		return nil, errors.Join(fmt.Errorf("%w: the image is of another module", functions.ErrInvalid), snapshot.Close())
	}
	return snapshot, nil
}

// folderBytes returns the sizes of the files below dir, as far as they can be seen.
func folderBytes(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if info, err := e.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// code is a version in memory.
type code struct {
	driver   *Driver
	program  *program
	prepared *prepared
	image    *image.Image // nil if it was not captured
	bytes    int64        // of compiled code and module
}

// New starts an instance: from the image, or from nothing.
func (c *code) New(ctx context.Context) (sandbox.Instance, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m := c.program.manifest
	host := bootHost{func(level slog.Level, line string) { c.driver.cfg.Log.Log(ctx, level, line, "func", m.Name) }}
	ctx, cancel := limitStart(ctx, m)
	defer cancel(nil)
	start := c.boot
	if c.image != nil {
		start = c.restore
	}
	g, err := start(ctx, cancel, host)
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("%s-%d", m.Name, c.driver.instances.Add(1))
	return &instance{id: id, code: c, guest: g}, nil
}

func (c *code) boot(ctx context.Context, cancel context.CancelCauseFunc, host functions.Host) (*guest, error) {
	boot := newCall(ctx, cancel, c.program.manifest, host, startClock(firstClock), firstFD)
	defer boot.end()
	return c.program.boot(boot)
}

// restore makes a guest that stands where the image was taken, but for its random numbers and the time.
func (c *code) restore(ctx context.Context, cancel context.CancelCauseFunc, host functions.Host) (*guest, error) {
	meta := c.image.Meta()
	mem, err := c.image.NewMemory(c.program.limits.MemBytes)
	if err != nil {
		return nil, fmt.Errorf("%w: function %s: %w", functions.ErrColdStart, c.program.manifest.Name, err)
	}
	call := newCall(ctx, cancel, c.program.manifest, host, startClock(meta.ClockBase), c.prepared.NextFD)
	g, err := c.program.instantiate(call, mem)
	if err != nil {
		return nil, fmt.Errorf("%w: function %s: %w", functions.ErrColdStart, c.program.manifest.Name, err)
	}
	err = g.findGlobals(meta.GlobalNames)
	if err == nil {
		err = c.setState(g)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: function %s: %w", functions.ErrColdStart, c.program.manifest.Name, err), g.close())
	}
	return g, nil
}

// reset puts a guest that was restored, and has stopped, back to where restore left it, but for its clock. Memory and
// globals are all the state that a guest has that can be captured: see package rewrite.
func (c *code) reset(g *guest) error {
	if err := g.mem.Reset(); err != nil {
		return err
	}
	return c.setState(g)
}

// setState gives a guest whose memory is the image's the rest of the image's state, and random states of its own.
func (c *code) setState(g *guest) error {
	meta := c.image.Meta()
	for i, global := range g.globals {
		global.Set(meta.Globals[i])
	}
	g.nextFD = c.prepared.NextFD
	return image.Reseed(g.mem.Bytes(), meta.Seeds, rand.Reader)
}

// MemBytes is what the compiled code, the module and the image take.
func (c *code) MemBytes() int64 {
	n := c.bytes
	if c.image != nil {
		n += c.image.MappedBytes()
	}
	return n
}

// Close frees the code and the image.
func (c *code) Close() error {
	err := c.program.close()
	if c.image != nil {
		err = errors.Join(err, c.image.Close())
	}
	return err
}
