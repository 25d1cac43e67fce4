package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catenary-run/catenary/gpu/cuda"
)

// stepCycles is how long a step of another model takes: about 0.1 ms.
const stepCycles = 150_000

// checkWake has a wake, a bare copy of the same bytes and the restore of a process with as many take turns. All are compared with
// what they should bring.
func (l *lab) checkWake(ctx context.Context, rec *recorder, size int64) (err error) {
	m, err := l.load("wake", size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := errors.Join(m.spoil(), m.park()); err != nil {
		return err
	}
	other, err := l.startHolder(ctx, size)
	giveUp := func(why error) {
		rec.leaveOut("checkpoint", "%v", why)
		rec.leaveOut("restore", "%v", why)
		other.stop()
		other = nil
	}
	if err != nil {
		giveUp(err)
	}
	defer func() { other.stop() }()
	return l.rounds(ctx, rec, func(to *recorder) error {
		// Only one of the two has memory on the device at any time.
		if other != nil {
			if err := to.timed("checkpoint", other.checkpoint); err != nil {
				giveUp(err)
			}
		}
		if err := m.round(to); err != nil || other == nil {
			return err
		}
		if err := to.timed("restore", other.restore); err != nil {
			giveUp(err)
			return nil
		}
		return other.verify()
	})
}

// round wakes a parked model, copies the same bytes to the same place, and parks it.
func (m *model) round(rec *recorder) error {
	if err := rec.timed("wake", m.wake); err != nil {
		return err
	}
	if err := errors.Join(m.verify("woken"), m.spoil()); err != nil {
		return err
	}
	if err := m.use(func() error {
		return rec.timed("copy", func() error { return errors.Join(m.copy(), m.lab.stream.Synchronize()) })
	}); err != nil {
		return err
	}
	if err := errors.Join(m.verify("copied"), m.spoil()); err != nil {
		return err
	}
	return rec.timed("park", m.park)
}

// checkStall has a stream do short steps, one after the other as a model that decodes, while another model moves.
func (l *lab) checkStall(ctx context.Context, rec *recorder, size int64) (err error) {
	m, err := l.load("stall", size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	decoding, err := l.device.NewStream()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, decoding.Close()) }()
	step := func() error {
		return errors.Join(l.spin.Launch(decoding, 1, 1, uint64(l.scrap), stepCycles), decoding.Synchronize())
	}
	if err := m.park(); err != nil {
		return err
	}
	return l.rounds(ctx, rec, func(to *recorder) error {
		woken, err := stepsBeside(m.wake, step)
		if err != nil {
			return err
		}
		if err := errors.Join(m.verify("woken beside steps"), m.spoil()); err != nil {
			return err
		}
		parked, err := stepsBeside(m.park, step)
		if err != nil {
			return err
		}
		alone, err := stepsUntil(func(n int) bool { return n == len(woken) }, step)
		if err != nil {
			return err
		}
		for _, arm := range []struct {
			name  string
			steps []time.Duration
		}{{"alone", alone}, {"beside a wake", woken}, {"beside a park", parked}} {
			slices.Sort(arm.steps)
			to.Took("median step "+arm.name, arm.steps[len(arm.steps)/2])
			to.Took("longest step "+arm.name, arm.steps[len(arm.steps)-1])
		}
		return nil
	})
}

// stepsBeside does steps, at least one, for as long as move takes.
func stepsBeside(move, step func() error) ([]time.Duration, error) {
	var (
		all   sync.WaitGroup
		ended atomic.Bool
		moved error
	)
	all.Go(func() {
		moved = move()
		ended.Store(true)
	})
	steps, err := stepsUntil(func(int) bool { return ended.Load() }, step)
	all.Wait()
	return steps, errors.Join(moved, err)
}

// stepsUntil returns how long each step took, of at least one.
func stepsUntil(enough func(n int) bool, step func() error) ([]time.Duration, error) {
	var steps []time.Duration
	for len(steps) == 0 || !enough(len(steps)) {
		took, err := timed(step)
		if err != nil {
			return nil, err
		}
		steps = append(steps, took)
	}
	return steps, nil
}

// checkGraph captures once what reads the weights and writes scratch memory, and launches it before each park and after each
// wake.
func (l *lab) checkGraph(ctx context.Context, rec *recorder, size int64) (err error) {
	m, err := l.load("graph", size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	const scratchBytes = 1 << 20
	var scratch cuda.Addr
	if err := m.allocate(cuda.Scratch, scratchBytes, &scratch); err != nil {
		return err
	}
	defer func() { err = errors.Join(l.space.Free(scratch), err) }()
	graph, err := l.stream.Capture(func() error {
		return errors.Join(l.count(m.at, size, m.seed), l.launch(l.pattern, scratch, scratchBytes, m.seed+1))
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, graph.Close()) }()
	replay := func(to *recorder, arm string) error {
		return m.use(func() error {
			if err := errors.Join(l.resetCount(), l.stream.Fill(scratch, poison, scratchBytes), l.stream.Synchronize()); err != nil {
				return err
			}
			if err := to.timed(arm, func() error { return errors.Join(graph.Launch(l.stream), l.stream.Synchronize()) }); err != nil {
				return err
			}
			return errors.Join(l.counted("weights that a graph read"), l.verify("scratch that a graph wrote", scratch, scratchBytes, m.seed+1))
		})
	}
	return l.rounds(ctx, rec, func(to *recorder) error {
		if err := replay(to, "replay before a park"); err != nil {
			return err
		}
		if err := errors.Join(m.spoil(), m.park(), m.wake()); err != nil {
			return err
		}
		return replay(to, "replay after a wake")
	})
}

// checkCycles parks and wakes often, and compares the last quarter with the first.
func (l *lab) checkCycles(ctx context.Context, rec *recorder, size int64) (err error) {
	m, err := l.load("cycles", size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	for range warm {
		if err := errors.Join(m.spoil(), m.park(), m.wake()); err != nil {
			return err
		}
	}
	before, _, err := l.device.Memory()
	if err != nil {
		return err
	}
	quarter := (l.cycles + 3) / 4
	for i := range l.cycles {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := errors.Join(m.spoil(), m.park()); err != nil {
			return err
		}
		took, err := timed(m.wake)
		if err != nil {
			return err
		}
		if err := m.verify("woken again"); err != nil {
			return err
		}
		free, _, err := l.device.Memory()
		if err != nil {
			return err
		}
		if i < quarter {
			rec.Took("wake, first quarter", took)
		}
		if i >= l.cycles-quarter {
			rec.Took("wake, last quarter", took)
			rec.Add("memory lost by the last quarter", "MB", float64(before-free)/1e6)
		}
	}
	return nil
}
