package coldstart

import (
	"context"
	"slices"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
)

// pool is one version of one function on this node. All its fields but ref are guarded by Pools.mu.
type pool struct {
	ref      functions.Ref
	manifest *functions.Manifest // nil until it was looked up
	image    *sandbox.Image      // nil until it was prepared
	state    state

	code      codeState
	loaded    sandbox.Code // set while code is codeLoaded
	codeBytes int64
	instBytes int64     // of the latest instance
	heldOf    int64     // what Pools.held has of it
	unusedOf  int64     // what Pools.unused has of it
	touched   time.Time // the last use, or the load: what the least recently used is measured by
	loadBegan time.Time // of the load that the next starts have to thank
	wakeTime  time.Duration
	nextLook  time.Time // when decide wants to be asked again; zero: when something happens

	starting, leaving int
	ready             []*instance // the longest unused first; calls take the last
	busy              map[*instance]struct{}
	resetting         int // those that are being reset

	calls     []*waiter // in the order they came
	wakers    []*waiter
	preparers []*waiter
	deploys   int // that go on
}

// instance is a live sandbox and what the pool knows of it, guarded by Pools.mu.
type instance struct {
	sandbox.Instance
	pool      *pool
	began     time.Time // when its start began, with the load that it waited for
	ready     time.Time // when it was there
	since     time.Time // unused since
	memBytes  int64
	served    bool
	resetTook time.Duration   // the last time; 0 before it
	spent     bool            // must not serve again
	done      <-chan struct{} // its Done
	closing   chan struct{}   // closed when it leaves: ends the watch of done
}

// dead reports whether the instance has ended by itself, even if nobody has noticed yet.
func (i *instance) dead() bool {
	select {
	case <-i.done: // never, if it is nil
		return true
	default:
		return false
	}
}

// waiter is one caller that waits. Whoever removes it from its list tells it one outcome; got has room for that.
type waiter struct {
	got chan outcome
}

type outcome struct {
	inst *instance // for a call
	err  error
}

func newWaiter() *waiter { return &waiter{got: make(chan outcome, 1)} }

func remove(list []*waiter, w *waiter) ([]*waiter, bool) {
	i := slices.Index(list, w)
	if i < 0 {
		return list, false
	}
	return slices.Delete(list, i, i+1), true
}

func tell(list []*waiter, o outcome) []*waiter {
	for _, w := range list {
		w.got <- o
	}
	return nil
}

// failAll tells everybody who waits.
func (pl *pool) failAll(err error) {
	pl.calls = tell(pl.calls, outcome{err: err})
	pl.wakers = tell(pl.wakers, outcome{err: err})
	pl.preparers = tell(pl.preparers, outcome{err: err})
}

// take returns the ready instance that was used last, now busy, or nil: the others may grow old and go. Dead ones are
// left to the watch that will find them.
func (pl *pool) take() *instance {
	for i, inst := range slices.Backward(pl.ready) {
		if inst.dead() {
			continue
		}
		pl.ready = slices.Delete(pl.ready, i, i+1)
		pl.busy[inst] = struct{}{}
		return inst
	}
	return nil
}

// offer gives an instance that can serve to the call that has waited longest, or makes it ready.
func (pl *pool) offer(inst *instance, now time.Time) {
	pl.wakers = tell(pl.wakers, outcome{})
	if len(pl.calls) > 0 {
		w := pl.calls[0]
		pl.calls[0] = nil
		pl.calls = pl.calls[1:]
		pl.busy[inst] = struct{}{}
		w.got <- outcome{inst: inst}
		return
	}
	inst.since = now
	pl.ready = append(pl.ready, inst)
}

// unready takes inst out of the ready ones, and reports whether it was there.
func (pl *pool) unready(inst *instance) bool {
	i := slices.Index(pl.ready, inst)
	if i < 0 {
		return false
	}
	pl.ready = slices.Delete(pl.ready, i, i+1)
	return true
}

func (pl *pool) observe(stopping bool) observed {
	o := observed{
		Calls:     len(pl.calls),
		Wakers:    len(pl.wakers),
		Preparers: len(pl.preparers),
		Deploys:   pl.deploys,
		Busy:      len(pl.busy),
		Resetting: pl.resetting,
		Starting:  pl.starting,
		Leaving:   pl.leaving,
		Code:      pl.code,
		Stopping:  stopping,
	}
	for _, inst := range pl.ready {
		o.Ready = append(o.Ready, inst.since)
	}
	return o
}

// spec returns the bounds of the pool. Before its manifest is known nothing but a load can happen.
func (pl *pool) spec(c Config) spec {
	sp := spec{Max: c.MaxInstances, Spare: c.Spare, Idle: c.IdleAfter, KeepCode: true}
	if pl.manifest != nil {
		if pl.manifest.Idle > 0 {
			sp.Idle = pl.manifest.Idle
		}
		if pl.manifest.In.Stream {
			sp.Max = c.MaxSessions
		}
		if pl.manifest.Kind == functions.KindPlugin {
			sp.Max, sp.Spare, sp.KeepCode = c.MaxPlugins, 0, false
			if pl.manifest.In.Stream {
				sp.Max = c.MaxPluginSessions
			}
		}
	}
	return sp
}

// room returns how many calls may wait: one for each instance that may yet come free or be started, and the queue. How many
// those are is not known before the manifest is; then they may be as many as any version can have.
func (pl *pool) room(c Config) int {
	instances := pl.spec(c).Max
	if pl.manifest == nil {
		instances = max(instances, c.MaxSessions)
	}
	return c.QueueDepth + max(0, instances-len(pl.busy))
}

func (pl *pool) kind() functions.Kind {
	if pl.manifest == nil {
		return ""
	}
	return pl.manifest.Kind
}

// running counts the instances that are there.
func (pl *pool) running() int {
	return len(pl.ready) + len(pl.busy) + pl.resetting
}

// empty reports whether the pool holds nothing and nobody waits.
func (pl *pool) empty() bool {
	return pl.code == codeNone && pl.running()+pl.starting+pl.leaving == 0 && !pl.observe(false).demand()
}

// forgettable reports whether nobody would miss the pool.
func (pl *pool) forgettable() bool { return pl.empty() && pl.deploys == 0 }

// memBytes is what the pool holds in memory. Code that is given up does not count: else the budget would take more.
func (pl *pool) memBytes() int64 {
	var n int64
	if !pl.state.GiveUp {
		n = pl.codeBytes
	}
	for _, inst := range pl.ready {
		n += inst.memBytes
	}
	for inst := range pl.busy {
		n += inst.memBytes
	}
	return n
}

// unused returns what of it nobody uses or waits for.
func (pl *pool) unused() unused {
	u := unused{Version: pl.ref.Digest, Code: pl.unusedCode(), Used: pl.touched}
	for _, inst := range pl.unusedInstances() {
		u.Idle = append(u.Idle, idleInstance{inst.since, inst.memBytes})
	}
	if n := len(u.Idle); n > 0 {
		u.Idle[n-1].Since = later(u.Idle[n-1].Since, pl.touched) // somebody woke it, and counts on the last one
	}
	return u
}

// unusedBytes is what giving all of that up would free.
func (pl *pool) unusedBytes() int64 {
	n := pl.unusedCode()
	for _, inst := range pl.unusedInstances() {
		n += inst.memBytes
	}
	return n
}

func (pl *pool) unusedInstances() []*instance {
	if len(pl.calls)+len(pl.wakers) > 0 {
		return nil
	}
	return pl.ready
}

// unusedCode is what the code holds, if nothing but ready instances needs it.
func (pl *pool) unusedCode() int64 {
	waiting := len(pl.calls) + len(pl.wakers) + len(pl.preparers)
	needed := len(pl.busy) + pl.resetting + pl.starting
	if pl.code != codeLoaded || pl.state.GiveUp || waiting+needed > 0 {
		return 0
	}
	return pl.codeBytes
}

// wait waits for the outcome of w. When ctx ends first, giveUp removes w from its list; if that comes too late, an
// outcome is on its way, and late gets it.
func wait(ctx context.Context, w *waiter, giveUp func() bool, late func(outcome)) (outcome, error) {
	select {
	case o := <-w.got:
		return o, o.err
	case <-ctx.Done():
	}
	if !giveUp() {
		late(<-w.got)
	}
	return outcome{}, context.Cause(ctx)
}
