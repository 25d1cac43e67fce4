package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/coldstart"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox"
)

// pathStarts are how long the five guests take to start.
var pathStarts = []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}

const (
	pathRounds     = 10
	entriesPerMS   = slowEntries / 100 // start-up work that takes about a millisecond here
	pathIdle       = 20 * time.Millisecond
	pathRunTimeout = time.Minute
	// pathSettle is for the memory of instances that have just gone: while the kernel takes it back, others wait.
	pathSettle = 200 * time.Millisecond
)

// benchPath measures a chain of five guests from sleep to its answer: all woken when the run begins, against each woken
// when its turn comes. The first pair waits on the clock and has no image; the others compute.
func benchPath(ctx context.Context, rec *recorder) error {
	dir, err := os.MkdirTemp("", "catenary-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	paths := []struct {
		name  string
		specs func(i int, d time.Duration) guestSpec
	}{
		{"clock, no image", func(i int, d time.Duration) guestSpec {
			return guestSpec{name: fmt.Sprintf("nap-%d", i), sleep: d, image: "off"}
		}},
		{"cpu, no image", func(i int, d time.Duration) guestSpec {
			return guestSpec{name: fmt.Sprintf("work-%d", i), entries: int(d.Milliseconds()) * entriesPerMS, image: "off"}
		}},
		{"cpu, image", func(i int, d time.Duration) guestSpec {
			return guestSpec{name: fmt.Sprintf("image-%d", i), entries: int(d.Milliseconds()) * entriesPerMS}
		}},
	}
	var arms []*path
	for _, p := range paths {
		built, err := newPath(ctx, dir, p.specs)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		defer built.stop()
		built.name = p.name
		arms = append(arms, built)
	}
	for range pathRounds {
		for _, p := range arms {
			for _, how := range []struct {
				name    string
				invoker functions.Invoker
			}{{"at once", p.pools}, {"step by step", noWake{p.pools}}} {
				for _, all := range arms { // what another arm left behind would compete
					all.sleep()
				}
				time.Sleep(pathSettle)
				took, err := p.run(ctx, how.invoker)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", p.name, how.name, err)
				}
				rec.Took(p.name+": woken "+how.name, took)
			}
		}
	}
	for _, p := range paths {
		rec.ratio(p.name+": step by step / at once", p.name+": woken step by step", p.name+": woken at once")
	}
	rec.Add("the slowest start-up alone", "ms", 800)
	rec.ratio("clock, no image: woken at once / the slowest start-up", "clock, no image: woken at once", "the slowest start-up alone")
	return nil
}

// noWake is an invoker that does not wake ahead.
type noWake struct{ functions.Invoker }

func (noWake) Wake(context.Context, []functions.Ref, []functions.Ref) error { return nil }

// path is a chain of five guests on pools of its own.
type path struct {
	name  string
	pools *coldstart.Pools
	plan  *chains.Plan
	stop  func()
}

// deployed is what the pools ask for: a fixed set of manifests and their artifacts.
type deployed struct {
	manifests map[functions.Digest]*functions.Manifest
	files     map[functions.Digest]string
}

func (d deployed) Manifest(_ context.Context, ref functions.Ref) (*functions.Manifest, error) {
	return d.manifests[ref.Digest], nil
}

func (d deployed) Path(_ context.Context, digest functions.Digest) (string, error) {
	return d.files[digest], nil
}

func newPath(ctx context.Context, dir string, guest func(int, time.Duration) guestSpec) (*path, error) {
	has := deployed{map[functions.Digest]*functions.Manifest{}, map[functions.Digest]string{}}
	manifests := map[string]*functions.Manifest{}
	chain := spec.Chain{Name: "path"}
	from := spec.Input
	var refs []functions.Ref
	for i, d := range pathStarts {
		file, m, err := buildGuest(ctx, dir, guest(i, d))
		if err != nil {
			return nil, err
		}
		m.Idle = pathIdle
		m.In = functions.Port{Schema: functions.SchemaFor[out]()} // the guests stand in a row: each takes what the last one gives
		has.manifests[m.Digest()], has.files[m.Artifact], manifests[m.Name] = m, file, m
		refs = append(refs, m.Ref())
		chain.Steps = append(chain.Steps, spec.Step{Name: m.Name, Op: spec.OpCall, Func: m.Name, From: from})
		from, chain.Out = m.Name, m.Name
	}
	graph, err := chains.NewGraph(chain, manifests, nil)
	if err != nil {
		return nil, err
	}
	plan, err := chains.Compile(graph, manifests)
	if err != nil {
		return nil, err
	}
	driver, err := newDriver(filepath.Join(dir, chain.Out))
	if err != nil {
		return nil, err
	}
	pools, err := coldstart.New(coldstart.DefaultConfig(), coldstart.Deps{Drivers: []sandbox.Driver{driver}, Manifests: has, Artifacts: has, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- pools.Run(running) }()
	p := &path{pools: pools, plan: plan, stop: func() { cancel(); <-ended }}
	if _, err := pools.Prepare(ctx, refs, nil); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// sleep returns when no instance is left.
func (p *path) sleep() {
	for asleep := false; !asleep; time.Sleep(pathIdle) {
		asleep = true
		for _, s := range p.pools.Status() {
			asleep = asleep && s.Tier == coldstart.Parked
		}
	}
}

// run runs the chain once.
func (p *path) run(ctx context.Context, invoker functions.Invoker) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, pathRunTimeout)
	defer cancel()
	v, err := value.Encode(out{N: 0})
	if err != nil {
		return 0, err
	}
	var got out
	answered := errors.New("no answer came")
	start := time.Now()
	_, err = p.plan.Run(ctx, chains.Run{ID: "bench", Invoker: invoker, In: functions.Items(functions.Item{Value: v}), Out: functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		answered = value.Decode(it.Value, &got)
		return nil
	})})
	took := time.Since(start)
	if err = errors.Join(err, answered); err == nil && got.N != len(pathStarts) {
		err = fmt.Errorf("the chain answered %+v", got)
	}
	return took, err
}

// Verify implements functions.Blobs: nothing here is ever damaged.
func (deployed) Verify(context.Context, functions.Digest) (bool, error) { return false, nil }
