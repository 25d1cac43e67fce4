package coldstart

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
)

// maxPools bounds what is remembered of versions that hold nothing any more. Their images are on disk all the same;
// only the entry in Status and the last wake time are forgotten.
const maxPools = 1024

// Pools are all pools of a node. It may be used from many goroutines.
type Pools struct {
	config    Config
	drivers   map[functions.Kind]sandbox.Driver
	manifests Manifests
	artifacts Artifacts
	models    Models
	log       *slog.Logger
	metrics   *metrics
	poke      chan struct{} // capacity 1: something has changed, decide again
	sessions  atomic.Uint64 // numbers them

	// tasks is joined by Run. Beside Run, only what holds an instance adds to it, and Run does not end before that.
	tasks sync.WaitGroup

	mu       sync.Mutex // guards the fields below, and all pools and instances
	pools    map[functions.Digest]*pool
	dirty    map[*pool]struct{} // those about which something has changed
	rushing  map[*pool]struct{} // those that are starting something that somebody waits for
	deferred map[*pool]struct{} // those whose spare instance waits until nobody is rushing
	due      time.Time          // no pool wants to be looked at before this; zero: none at all
	held     int64              // bytes that all pools hold, as far as they are accounted
	unused   int64              // those of them that nobody uses
	active   map[*activeCall]struct{}
	refusing bool          // no more calls
	stopping bool          // instances and code have to go
	quiet    chan struct{} // made by Drain, closed when the last call has ended
}

// New returns pools that hold nothing yet; Run brings them to life. Its error wraps functions.ErrInvalid.
func New(config Config, deps Deps) (*Pools, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	drivers, err := deps.driversByKind()
	if err != nil {
		return nil, err
	}
	log := deps.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &Pools{
		config:    config,
		drivers:   drivers,
		manifests: deps.Manifests,
		artifacts: deps.Artifacts,
		models:    deps.Models,
		log:       log,
		poke:      make(chan struct{}, 1),
		pools:     map[functions.Digest]*pool{},
		dirty:     map[*pool]struct{}{},
		rushing:   map[*pool]struct{}{},
		deferred:  map[*pool]struct{}{},
		active:    map[*activeCall]struct{}{},
	}
	p.metrics, err = newMetrics(deps.Metrics, p)
	return p, err
}

// Run starts and stops instances until ctx ends. Then it refuses new calls, ends those that run, closes all instances
// and code, and returns nil when all is gone. To let calls finish first, use Drain before. It must be called once.
func (p *Pools) Run(ctx context.Context) error {
	// Starts end with ctx; what closes things does not.
	starts, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(errShuttingDown) })()

	defer p.tasks.Wait()
	ended := ctx.Done()
	var force <-chan time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := p.step(starts)
		if p.gone() {
			return nil
		}
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-p.poke:
		case <-timer.C:
		case <-force:
			p.forceClose()
		case <-ended:
			ended = nil
			p.stop()
			force = time.After(callGrace)
		}
	}
}

// changed notes that decide has to look at pl. The caller holds mu.
func (p *Pools) changed(pl *pool) {
	p.dirty[pl] = struct{}{}
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

// asBefore notes a change of pl that leaves as many instances as there were. Unless somebody waits or memory is short
// nothing is to be decided then, and the loop is left asleep: to wake it twice took longer than a small call. It looks no
// later than it would have without the change. mu is held.
func (p *Pools) asBefore(pl *pool) {
	p.account(pl)
	if pl.nextLook.IsZero() || len(pl.calls)+len(pl.wakers)+len(pl.preparers) > 0 || p.stopping || p.held > p.config.MemBytes {
		p.changed(pl)
	}
}

// step decides about every pool that changed or is due, lets tasks do it, and returns when to step again if nothing
// happens before. What it costs depends on what has changed, not on how many pools there are.
func (p *Pools) step(starts context.Context) (next time.Time) {
	now := time.Now()
	p.mu.Lock()
	if !p.due.IsZero() && !now.Before(p.due) {
		p.due = time.Time{}
		for _, pl := range p.pools {
			if !pl.nextLook.IsZero() && !now.Before(pl.nextLook) {
				p.dirty[pl] = struct{}{}
			}
			p.dueBy(pl.nextLook)
		}
	}
	var todo []func()
	for pl := range p.dirty {
		p.noteRush(pl)
	}
	for pl := range p.dirty {
		todo = append(todo, p.look(starts, pl, 0, now)...)
		p.noteRush(pl)
		p.dueBy(pl.nextLook)
		p.account(pl)
		if pl.manifest == nil && pl.forgettable() && p.pools[pl.ref.Digest] == pl { // it could not even be looked up
			delete(p.pools, pl.ref.Digest)
		}
	}
	clear(p.dirty)
	if len(p.rushing) == 0 {
		for pl := range p.deferred {
			p.changed(pl)
		}
		clear(p.deferred)
	}
	if p.held > p.config.MemBytes {
		todo = append(todo, p.reclaim(starts, now)...)
	}
	if len(p.pools) > maxPools {
		p.forgetOldest()
	}
	next = p.due
	p.mu.Unlock()
	for _, do := range todo {
		p.tasks.Go(do)
	}
	return next
}

// noteRush keeps book of whether pl is starting something that somebody waits for. mu is held.
func (p *Pools) noteRush(pl *pool) {
	if len(pl.calls)+len(pl.wakers) > 0 && (pl.starting > 0 || pl.code == codeLoading) {
		p.rushing[pl] = struct{}{}
	} else {
		delete(p.rushing, pl)
	}
}

// dueBy notes that a pool wants to be looked at by t, if t is a time. Should the pool change its mind, the loop wakes
// once for nothing. mu is held.
func (p *Pools) dueBy(t time.Time) {
	if !t.IsZero() && (p.due.IsZero() || t.Before(p.due)) {
		p.due = t
	}
}

// account brings the sums of all memory up to date with what pl holds. mu is held.
func (p *Pools) account(pl *pool) {
	held, unused := pl.memBytes(), pl.unusedBytes()
	p.held += held - pl.heldOf
	p.unused += unused - pl.unusedOf
	pl.heldOf, pl.unusedOf = held, unused
}

// short reports whether there is no memory for another instance of pl, even if all that others do not use were given up.
// mu is held.
func (p *Pools) short(pl *pool) bool {
	needed := p.held - (p.unused - pl.unusedOf)
	return needed+pl.instBytes > p.config.MemBytes
}

// look decides about one pool, of which the memory of that many ready instances is to be reclaimed, and returns the tasks
// that follow, entered in the books already. mu is held.
func (p *Pools) look(starts context.Context, pl *pool, reclaim int, now time.Time) (todo []func()) {
	if pl.code == codeLoaded {
		pl.preparers = tell(pl.preparers, outcome{})
	}
	if pl.running() > 0 {
		pl.wakers = tell(pl.wakers, outcome{})
	}
	var d decision
	o := pl.observe(p.stopping)
	o.Rush, o.Short, o.Reclaim = len(p.rushing) > 0, p.short(pl), reclaim
	// What replaces an instance of a version that is hot is no wake.
	sp := pl.spec(p.config)
	wake := o.Calls+o.Wakers > 0 && o.alive() == 0 && !pl.state.hot(sp.Idle, now)
	pl.state, d = decide(sp, o, pl.state, now)
	pl.nextLook = d.Next
	if d.Defer {
		p.deferred[pl] = struct{}{}
	}
	if d.Load {
		pl.code = codeLoading
		if o.Calls+o.Wakers > 0 { // what a deploy takes is no wake
			pl.loadBegan = now
		}
		todo = append(todo, func() { p.load(starts, pl) })
	}
	began := now
	if !pl.loadBegan.IsZero() {
		began, wake = pl.loadBegan, true
	}
	code := pl.loaded
	for range d.Start {
		pl.starting++
		todo = append(todo, func() { p.start(starts, pl, code, began, wake) })
	}
	if d.Start > 0 {
		pl.loadBegan = time.Time{}
	}
	for _, inst := range pl.ready[:d.Stop] {
		pl.leaving++
		close(inst.closing)
		todo = append(todo, func() { p.closeInstance(inst, d.Why) })
	}
	pl.ready = append(pl.ready[:0:0], pl.ready[d.Stop:]...)
	if d.Unload {
		todo = append(todo, p.unload(pl, d.Why))
	}
	return todo
}

// unload takes the code from the pool and returns the task that closes it. mu is held.
func (p *Pools) unload(pl *pool, why string) func() {
	code := pl.loaded
	pl.code, pl.loaded, pl.codeBytes, pl.state.GiveUp = codeUnloading, nil, 0, false
	return func() { p.closeCode(pl, code, why) }
}

// reclaim returns the tasks that bring memory back to its budget, as far as something is unused. mu is held.
func (p *Pools) reclaim(starts context.Context, now time.Time) (todo []func()) {
	var all []unused
	for _, pl := range p.pools {
		if pl.unusedOf > 0 {
			all = append(all, pl.unused())
		}
	}
	for _, e := range evict(p.config.MemBytes, p.held, all) {
		pl := p.pools[e.Version]
		pl.state.GiveUp = e.Code
		todo = append(todo, p.look(starts, pl, e.Instances, now)...)
		p.dueBy(pl.nextLook)
		p.account(pl)
	}
	return todo
}

// forgetOldest drops the entry that was used least recently of those that hold nothing. Entries come one at a time, so
// one at a time is enough. mu is held.
func (p *Pools) forgetOldest() {
	var oldest *pool
	for _, pl := range p.pools {
		if pl.forgettable() && (oldest == nil || pl.touched.Before(oldest.touched)) {
			oldest = pl
		}
	}
	if oldest != nil {
		delete(p.pools, oldest.ref.Digest)
	}
}

// pool returns the pool of a version. mu is held.
func (p *Pools) pool(ref functions.Ref) *pool {
	pl := p.pools[ref.Digest]
	if pl == nil {
		pl = &pool{ref: ref, busy: map[*instance]struct{}{}}
		p.pools[ref.Digest] = pl
	}
	return pl
}

func (p *Pools) manifest(ctx context.Context, ref functions.Ref) (*functions.Manifest, error) {
	m, err := p.manifests.Manifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	if got := m.Digest(); got != ref.Digest {
		return nil, fmt.Errorf("%w: manifest of %s has digest %s", functions.ErrInvalid, ref, got.Short())
	}
	return m, nil
}
