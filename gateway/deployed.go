package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

const (
	chainPrefix    = "chain/"
	functionPrefix = "function/"
	modelPrefix    = "model/"

	// maxPlans bounds the compiled plans that are kept: a plan is some kilobytes and is made again in milliseconds.
	maxPlans = 128
	// watchPause is the wait before a broken watch is begun again; meanwhile aliases are read one by one.
	watchPause = time.Second
)

// chain is one compiled graph.
type chain struct {
	*chains.Plan
	// steps has the schema of what each step yields, by the step's name.
	steps map[string]*functions.Schema
	// opens is true if a step opens turns: then the items of the caller don't.
	opens bool
}

// flows reports whether the chain takes or answers with a stream: no total time limits a run of it whose caller gets the
// items as they come.
func (c *chain) flows() bool { return c.In().Stream || c.Out().Stream }

// deployed knows what the chain aliases point to, and compiles it once. While a watch runs it answers from a snapshot;
// what the snapshot lacks is read from the catalogue, so that a chain is there as soon as it is deployed.
type deployed struct {
	cat functions.Catalogue
	log *slog.Logger

	watching atomic.Bool
	aliases  atomic.Pointer[map[string]functions.Alias] // immutable; replaced under mu
	last     atomic.Pointer[map[string]functions.Alias] // what was known before the watch broke

	mu    sync.Mutex // guards the fields below
	plans map[functions.Digest]*cachedPlan
	uses  uint64
}

type cachedPlan struct {
	chain *chain
	used  uint64
}

func newDeployed(cat functions.Catalogue, log *slog.Logger) *deployed {
	d := &deployed{cat: cat, log: log, plans: map[functions.Digest]*cachedPlan{}}
	d.aliases.Store(&map[string]functions.Alias{})
	d.last.Store(&map[string]functions.Alias{})
	return d
}

// watch keeps the snapshot up to date until ctx ends.
func (d *deployed) watch(ctx context.Context) {
	for ctx.Err() == nil {
		d.watching.Store(true)
		err := d.cat.Watch(ctx, func(a functions.Alias) {
			chain := strings.TrimPrefix(a.Name, chainPrefix)
			switch d.learn(a) {
			case aliasTaken:
				d.log.Info("chain announced", "chain", chain, "graph", a.Digest, "rev", a.Rev)
			case aliasForgotten:
				d.log.Info("a chain went back, or is gone; it is looked up when it is called", "chain", chain, "rev", a.Rev)
			}
		})
		d.watching.Store(false)
		d.last.Store(d.aliases.Swap(&map[string]functions.Alias{}))
		if ctx.Err() != nil {
			return
		}
		d.log.Warn("the watch of the catalogue broke; aliases are read one by one until it is back", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
	}
}

// learned is what learn has done to the snapshot.
type learned int

const (
	aliasKnown learned = iota
	aliasTaken
	aliasForgotten
)

// learn takes a chain's alias, as the catalogue told it, into the snapshot. One that is not newer than the snapshot's
// may have been told late, or the catalogue has lost the newer one: then the snapshot forgets the chain, and the next
// run reads it from the catalogue.
func (d *deployed) learn(a functions.Alias) learned {
	if !strings.HasPrefix(a.Name, chainPrefix) || !d.watching.Load() {
		return aliasKnown // without a watch nobody would tell that it has become old
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old, known := (*d.aliases.Load())[a.Name]
	if a == old || !known && a.Rev == 0 {
		return aliasKnown
	}
	next, did := maps.Clone(*d.aliases.Load()), aliasTaken
	if a.Rev > old.Rev {
		next[a.Name] = a
	} else {
		delete(next, a.Name)
		did = aliasForgotten
	}
	d.aliases.Store(&next)
	return did
}

// resolve returns the chain of that name as it is deployed now. It returns an error wrapping [functions.ErrNotFound] if
// there is none.
func (d *deployed) resolve(ctx context.Context, name string) (*chain, error) {
	if err := functions.CheckName("chain", name); err != nil {
		return nil, err
	}
	a, ok := (*d.aliases.Load())[chainPrefix+name]
	if !ok {
		var err error
		a, err = d.cat.Alias(ctx, chainPrefix+name)
		switch {
		case errors.Is(err, functions.ErrNotFound):
			return nil, fmt.Errorf("%w: chain %q; deploy it first, or see what is there with List (catenary chains)", functions.ErrNotFound, name)
		case err != nil:
			if a, ok = (*d.last.Load())[chainPrefix+name]; !ok {
				return nil, fmt.Errorf("%w: look up chain %s: %w", functions.ErrUnavailable, name, err)
			}
			d.log.Warn("the catalogue does not answer; the chain runs as it was last known", "chain", name, "err", err)
		default:
			d.learn(a)
		}
	}
	c, err := d.load(ctx, a.Digest)
	if err != nil {
		return nil, fmt.Errorf("chain %s: %w", name, err)
	}
	return c, nil
}

// load returns the graph with that hash, compiled.
func (d *deployed) load(ctx context.Context, hash functions.Digest) (*chain, error) {
	d.mu.Lock()
	d.uses++
	if p := d.plans[hash]; p != nil {
		p.used = d.uses
		d.mu.Unlock()
		return p.chain, nil
	}
	d.mu.Unlock()

	data, err := d.cat.Record(ctx, functions.RecordGraph, hash)
	if err != nil {
		return nil, fmt.Errorf("graph %s: %w", hash.Short(), err)
	}
	g, err := chains.ParseGraph(data)
	if err != nil {
		return nil, fmt.Errorf("graph %s: %w", hash.Short(), err)
	}
	manifests := make(map[string]*functions.Manifest, len(g.Functions))
	for name, ref := range g.Functions {
		if manifests[name], err = d.manifest(ctx, ref.Digest); err != nil {
			return nil, err
		}
	}
	c, err := compile(g, manifests)
	if err != nil {
		return nil, err
	}
	d.keep(c)
	return c, nil
}

// keep caches c, in place of the plan that was unused longest if there are too many.
func (d *deployed) keep(c *chain) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.uses++
	d.plans[c.Hash()] = &cachedPlan{c, d.uses}
	if len(d.plans) <= maxPlans {
		return
	}
	var oldest functions.Digest
	least := d.uses + 1
	for hash, p := range d.plans {
		if p.used < least {
			oldest, least = hash, p.used
		}
	}
	delete(d.plans, oldest)
}

func (d *deployed) manifest(ctx context.Context, digest functions.Digest) (*functions.Manifest, error) {
	return functions.ReadRecord[functions.Manifest](ctx, d.cat, functions.RecordManifest, digest)
}

func (d *deployed) model(ctx context.Context, digest functions.Digest) (*functions.Model, error) {
	return functions.ReadRecord[functions.Model](ctx, d.cat, functions.RecordModel, digest)
}

// compile makes a plan of g, and finds the schema of every step.
func compile(g *chains.Graph, manifests map[string]*functions.Manifest) (*chain, error) {
	plan, err := chains.Compile(g, manifests)
	if err != nil {
		return nil, err
	}
	byName := map[string]spec.Step{}
	g.Spec.Walk(func(s spec.Step) { byName[s.Name] = s })
	c := &chain{Plan: plan, steps: make(map[string]*functions.Schema, len(byName))}
	var schema func(name string) *functions.Schema
	schema = func(name string) *functions.Schema { // a compiled chain has no cycles, so this ends
		if name == spec.Input {
			return plan.In().Schema
		}
		switch s := byName[name]; s.Op {
		case spec.OpCall, spec.OpEach:
			return manifests[s.Func].Out.Schema
		case spec.OpLast:
			return schema(s.From)
		default:
			return schema(s.Cases[0].Out)
		}
	}
	for name, s := range byName {
		c.steps[name] = schema(name)
		c.opens = c.opens || s.Op == spec.OpCall && manifests[s.Func].Turns
	}
	return c, nil
}
