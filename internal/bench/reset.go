package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
)

const (
	resetRounds = 3000
	resetWarm   = 50 // calls of each arm before it is measured
	resetRare   = 30 // the arms that take hundreds of times longer run once in so many rounds
)

// benchReset measures a call that finds fresh state, back to back: from a new plain instance, from a new copy-on-write
// instance, and from one that was reset. The floor is a plain instance that is never reset, so that every call finds
// what the others left.
func benchReset(ctx context.Context, rec *recorder) error {
	dir, err := os.MkdirTemp("", "catenary-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	specs := []guestSpec{{name: "trivial"}, {name: "heavy", entries: slowEntries}}
	var arms []*resetArms
	for _, s := range specs {
		a, err := newResetArms(ctx, dir, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		defer a.close(ctx)
		arms = append(arms, a)
	}
	silent := &recorder{}
	for i := range resetWarm + resetRounds {
		to := rec
		if i < resetWarm {
			to = silent
		}
		for _, a := range arms {
			if err := a.round(ctx, to, i); err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
		}
	}
	for _, a := range arms {
		rec.ratio(a.name+": call and reset / never reset", a.name+": catenary, call and reset", a.name+": plain wazero, never reset")
		rec.ratio(a.name+": new plain instance / call and reset", a.name+": plain wazero, new instance", a.name+": catenary, call and reset")
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
}

func newResetArms(ctx context.Context, dir string, s guestSpec) (*resetArms, error) {
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
	a.inst, err = a.code.New(ctx)
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
	a.inst.Close()
	a.code.Close()
	a.base.rt.Close(ctx)
}

// round runs each arm once, and those that take long now and then.
func (a *resetArms) round(ctx context.Context, rec *recorder, i int) error {
	took := func(arm string, since time.Time) {
		rec.add(a.name+": "+arm, "us", float64(time.Since(since))/1e3)
	}
	start := time.Now()
	if err := a.base.answer(ctx, a.kept); err != nil {
		return err
	}
	took("plain wazero, never reset", start)

	start = time.Now()
	if err := answer(ctx, a.inst); err != nil {
		return err
	}
	took("catenary, call", start)
	called := time.Now()
	if err := a.inst.Reset(ctx); err != nil {
		return err
	}
	took("catenary, reset", called)
	took("catenary, call and reset", start)
	rec.add(a.name+": catenary, memory of the instance", "KiB", float64(a.inst.MemBytes())/1024)

	start = time.Now()
	inst, err := a.code.New(ctx)
	if err != nil {
		return err
	}
	if err := answer(ctx, inst); err != nil {
		return err
	}
	if err := inst.Close(); err != nil {
		return err
	}
	took("catenary, new instance", start)

	if i%resetRare != 0 {
		return nil
	}
	start = time.Now()
	mod, err := a.base.start(ctx)
	if err != nil {
		return err
	}
	if err := a.base.answer(ctx, mod); err != nil {
		return err
	}
	if err := mod.Close(ctx); err != nil {
		return err
	}
	took("plain wazero, new instance", start)
	return nil
}
