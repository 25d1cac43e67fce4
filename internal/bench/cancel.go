package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/coldstart"
	"github.com/catenary-run/catenary/functions"
)

const (
	cancelRounds  = 10
	cancelStreams = 200
	cancelPlugins = 16 // all that a node runs of one plugin with a stream
	cancelSteps   = 2
)

// benchCancel measures the time from a cancellation until all that the stream held is free: its run has ended, and with
// it every call, whose instance is on its way to the next one. All streams have answered and wait for their callers.
func benchCancel(ctx context.Context, rec *recorder) error {
	dir, err := os.MkdirTemp("", "catenary-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rig, err := newHopRig(ctx, dir, func(c *coldstart.Config) {})
	if err != nil {
		return err
	}
	defer rig.stop()
	var arms []cancelArm
	for _, kind := range []struct {
		name, how string
		streams   int
	}{{"WASM", "wasm", cancelStreams}, {"plugin", "plugin", cancelPlugins / cancelSteps}} {
		m, err := rig.echo(ctx, kind.how, "stream")
		if err != nil {
			return err
		}
		p, err := plan(m, cancelSteps)
		if err != nil {
			return err
		}
		arms = append(arms,
			cancelArm{fmt.Sprintf("%d streams through two %s steps, all at once", kind.streams, kind.name), rig, p, kind.streams, true},
			cancelArm{fmt.Sprintf("one of %d streams through two %s steps", kind.streams, kind.name), rig, p, kind.streams, false})
	}
	return rec.rounds(1, cancelRounds, func(to *recorder) error {
		for _, a := range arms {
			if err := a.round(ctx, to); err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
		}
		return nil
	})
}

type cancelArm struct {
	name    string
	rig     *hopRig
	plan    *chains.Plan
	streams int
	atOnce  bool
}

// round begins the streams, has each answer once, and cancels them.
func (a cancelArm) round(ctx context.Context, rec *recorder) error {
	data := bytes.Repeat([]byte{0x5a}, hopPayload)
	errHungUp := fmt.Errorf("%w: the caller hung up", context.Canceled)
	cancels := make([]context.CancelCauseFunc, a.streams)
	runs := make([]*chains.Running, a.streams)
	defer func() {
		for i, run := range runs {
			if run != nil {
				cancels[i](errHungUp)
				_, _ = run.Wait()
			}
		}
	}()
	for i := range runs {
		own, cancel := context.WithCancelCause(ctx)
		cancels[i] = cancel
		in, out := functions.NewStream(0, 0), functions.NewStream(0, 0)
		run, err := a.plan.Start(own, chains.Run{ID: fmt.Sprint("bench-", i), Invoker: a.rig.pools, In: in, Out: out})
		if err != nil {
			return err
		}
		runs[i] = run
		it, err := itemOf(data)
		if err == nil {
			err = in.Send(ctx, it)
		}
		if err == nil {
			_, err = out.Recv(ctx)
		}
		if err != nil {
			return err
		}
	}
	freed := make([]time.Duration, a.streams)
	failed := make([]error, a.streams)
	var waits sync.WaitGroup
	for i, run := range runs {
		start := time.Now()
		cancels[i](errHungUp)
		wait := func() {
			_, err := run.Wait()
			freed[i] = time.Since(start)
			if !errors.Is(err, errHungUp) {
				failed[i] = fmt.Errorf("the run ended with %w", err)
			}
		}
		if a.atOnce {
			waits.Go(wait)
		} else {
			wait()
		}
	}
	waits.Wait()
	for _, d := range freed {
		rec.Add(a.name, "us", float64(d)/1e3)
	}
	return errors.Join(failed...)
}
