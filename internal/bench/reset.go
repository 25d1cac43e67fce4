package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
)

const (
	resetRounds = 200
	resetWarm   = 5  // rounds before it is measured
	resetBlock  = 20 // calls of one arm in a row: back to back, then it is the next one's turn
)

// benchReset measures a call that finds fresh state, back to back: from a new plain instance, from a new copy-on-write
// instance, and from one that was reset, beside a new instance under wasmtime. The floor is a plain instance that is never
// reset, so that every call finds what the others left.
func benchReset(ctx context.Context, rec *recorder) error {
	dir, err := os.MkdirTemp("", "catenary-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	wasmtime, err := buildWasmtime(ctx, dir)
	if err != nil {
		return err
	}
	specs := []guestSpec{{name: "trivial"}, {name: "heavy", entries: slowEntries}}
	var arms []*resetArms
	for _, s := range specs {
		a, err := newResetArms(ctx, dir, wasmtime, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		defer a.close(ctx)
		arms = append(arms, a)
	}
	err = rec.rounds(resetWarm, resetRounds, func(to *recorder) error {
		for _, a := range arms {
			if err := a.round(ctx, to); err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, a := range arms {
		rec.ratio(a.name+": call and reset / never reset", a.name+": catenary, call and reset", a.name+": plain wazero, never reset")
		rec.ratio(a.name+": new plain instance / call and reset", a.name+": plain wazero, new instance", a.name+": catenary, call and reset")
		rec.ratio(a.name+": new wasmtime instance / call and reset", a.name+": wasmtime, new instance", a.name+": catenary, call and reset")
		rec.ratio(a.name+": fresh copy-on-write instance / call and reset", a.name+": catenary, new instance", a.name+": catenary, call and reset")
	}
	return nil
}

// resetArms are the arms of one guest.
type resetArms struct {
	name string
	base *plain
	kept api.Module // of base, never reset
	code sandbox.Code
	inst sandbox.Instance
	peer *wasmtimeArm
}

func newResetArms(ctx context.Context, dir, wasmtime string, s guestSpec) (*resetArms, error) {
	file, m, err := buildGuest(ctx, dir, s)
	if err != nil {
		return nil, err
	}
	a := &resetArms{name: s.name}
	if a.base, err = newPlain(ctx, file, filepath.Join(dir, s.name+"-plain")); err != nil {
		return nil, err
	}
	if a.kept, err = a.base.start(ctx); err != nil {
		return nil, err
	}
	if a.code, err = loadCaptured(ctx, filepath.Join(dir, s.name+"-catenary"), m, file); err != nil {
		return nil, err
	}
	if a.inst, err = a.code.New(ctx); err != nil {
		return nil, err
	}
	a.peer, err = startWasmtime(ctx, wasmtime, file, a.base.in)
	return a, err
}

// loadCaptured prepares a version in a folder of its own and loads it.
func loadCaptured(ctx context.Context, dir string, m *functions.Manifest, file string) (sandbox.Code, error) {
	driver, err := newDriver(dir)
	if err != nil {
		return nil, err
	}
	img, err := driver.Prepare(ctx, m, file)
	if err != nil {
		return nil, err
	}
	if !img.Captured {
		return nil, fmt.Errorf("no image was taken: %s", img.Why)
	}
	return driver.Load(ctx, img)
}

func (a *resetArms) close(ctx context.Context) {
	a.peer.stop()
	a.inst.Close()
	a.code.Close()
	a.base.rt.Close(ctx)
}

// round gives each arm its turn. The one that takes hundreds of times longer has a single call.
func (a *resetArms) round(ctx context.Context, rec *recorder) error {
	for _, turn := range []struct {
		calls int
		call  func(context.Context, *recorder) error
	}{
		{resetBlock, a.neverReset}, {resetBlock, a.reset}, {resetBlock, a.newInstance}, {1, a.newPlain}, {1, a.newWasmtime},
	} {
		for range turn.calls {
			if err := turn.call(ctx, rec); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *resetArms) took(rec *recorder, arm string, since time.Time) {
	rec.Add(a.name+": "+arm, "us", float64(time.Since(since))/1e3)
}

func (a *resetArms) neverReset(ctx context.Context, rec *recorder) error {
	start := time.Now()
	if err := a.base.answer(ctx, a.kept); err != nil {
		return err
	}
	a.took(rec, "plain wazero, never reset", start)
	return nil
}

func (a *resetArms) reset(ctx context.Context, rec *recorder) error {
	start := time.Now()
	if err := answer(ctx, a.inst); err != nil {
		return err
	}
	called := time.Now()
	if err := a.inst.Reset(ctx); err != nil {
		return err
	}
	a.took(rec, "catenary, call and reset", start)
	a.took(rec, "catenary, the reset of it", called)
	rec.Add(a.name+": catenary, memory of the instance", "KiB", float64(a.inst.MemBytes())/1024)
	return nil
}

func (a *resetArms) newInstance(ctx context.Context, rec *recorder) error {
	start := time.Now()
	inst, err := a.code.New(ctx)
	if err != nil {
		return err
	}
	if err := answer(ctx, inst); err != nil {
		return errors.Join(err, inst.Close())
	}
	if err := inst.Close(); err != nil {
		return err
	}
	a.took(rec, "catenary, new instance", start)
	return nil
}

func (a *resetArms) newPlain(ctx context.Context, rec *recorder) error {
	start := time.Now()
	mod, err := a.base.start(ctx)
	if err != nil {
		return err
	}
	if err := a.base.answer(ctx, mod); err != nil {
		return errors.Join(err, mod.Close(ctx))
	}
	if err := mod.Close(ctx); err != nil {
		return err
	}
	a.took(rec, "plain wazero, new instance", start)
	return nil
}

func (a *resetArms) newWasmtime(_ context.Context, rec *recorder) error {
	took, err := a.peer.calls(1)
	if err != nil {
		return err
	}
	rec.Add(a.name+": wasmtime, new instance", "us", took[0])
	return nil
}
