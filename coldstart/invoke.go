package coldstart

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// Invoke implements [functions.Invoker].
func (p *Pools) Invoke(ctx context.Context, call functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
	growStack()
	began := time.Now()
	var t functions.Timing
	fail := func(id string, err error) (functions.Timing, error) {
		t.Total = time.Since(began)
		return t, &functions.InvokeError{Func: call.Ref.Name, Version: call.Ref.Digest, Instance: id, Err: err}
	}
	ctx, leave, err := p.enter(ctx)
	if err != nil {
		return fail("", err)
	}
	defer leave()
	l, err := p.acquire(ctx, call.Ref)
	waited := time.Since(began)
	if err != nil {
		t.Queue = waited
		return fail("", err)
	}
	if !l.inst.served {
		// What of the wait went by while this very instance was starting is wake, the rest is queue.
		t.Wake = max(0, l.inst.ready.Sub(later(began, l.inst.began)))
	}
	t.Queue = max(0, waited-t.Wake)

	id := l.inst.ID()
	m := meter{began: began, in: in, out: out}
	host := newHost(p, l.manifest, id, call)
	ctx, stop := m.limitIdle(ctx, l.manifest)
	err = p.guard("call", call.Ref, func() error { return l.inst.Serve(ctx, (*meterIn)(&m), (*meterOut)(&m), host) })
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx) // it may have ended for that, and not said all
	}
	stop()
	host.close()
	t.FirstItem = time.Duration(m.first.Load())
	t.BytesIn, t.BytesOut = m.bytesIn.Load(), m.bytesOut.Load()
	if err != nil {
		_, err = fail(id, err)
	}
	t.Total = time.Since(began)
	if l.release(err) {
		p.resetInstance(l.inst)
	}
	return t, err
}

// growStack makes the stack of a goroutine large enough for a call at once, while little of it is in use: it would be
// copied several times on the way down into a guest otherwise, each time with more on it.
//
//go:noinline
func growStack() byte {
	var frame [callStack]byte
	return frame[noStack]
}

// callStack is more than a call needs. NoStack is a variable, so that the frame is really there.
const callStack = 16 << 10

var noStack = 0

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// lease is the only way to hold an instance.
type lease struct {
	pools    *Pools
	inst     *instance
	manifest *functions.Manifest
}

// acquire returns a lease of an instance of ref's version, once there is one.
func (p *Pools) acquire(ctx context.Context, ref functions.Ref) (*lease, error) {
	if _, err := functions.ParseDigest(string(ref.Digest)); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p.mu.Lock()
	if p.stopping {
		p.mu.Unlock()
		return nil, errShuttingDown
	}
	pl := p.pool(ref)
	if len(pl.calls) == 0 {
		if inst := pl.take(); inst != nil {
			l := &lease{p, inst, pl.manifest}
			p.account(pl) // nothing has to be decided, so the loop is left asleep
			p.mu.Unlock()
			return l, nil
		}
	}
	if n := len(pl.calls); n >= pl.room(p.config) {
		p.mu.Unlock()
		return nil, fmt.Errorf("%w: %d calls wait already; try again later", functions.ErrQueueFull, n)
	}
	w := newWaiter()
	pl.calls = append(pl.calls, w)
	p.changed(pl)
	p.mu.Unlock()

	giveUp := func() (removed bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		pl.calls, removed = remove(pl.calls, w)
		p.changed(pl)
		return removed
	}
	o, err := wait(ctx, w, giveUp, func(late outcome) { p.giveBack(late.inst) })
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return &lease{p, o.inst, pl.manifest}, nil
}

// giveBack returns an instance that was lent too late for its caller, unused. A nil instance is ignored.
func (p *Pools) giveBack(inst *instance) {
	if inst == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pl := inst.pool
	if _, held := pl.busy[inst]; !held {
		return
	}
	delete(pl.busy, inst)
	if inst.spent {
		p.finish(inst)
		return
	}
	p.changed(pl)
	pl.offer(inst, time.Now())
}

// release ends the lease. What the call's error tells about the instance decides whether it may serve again. It is reset or
// closed by others, which the caller does not wait for, unless release returns true: then the caller is to reset it.
func (l *lease) release(err error) (reset bool) {
	p, inst := l.pools, l.inst
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	pl := inst.pool
	if _, held := pl.busy[inst]; !held {
		return false
	}
	delete(pl.busy, inst)
	inst.served = true
	if broken(err) {
		inst.spent = true
	} else {
		pl.state = pl.state.served()
	}
	pl.state.LastUsed, pl.touched = now, now
	return p.finish(inst)
}

// shortReset is less than it takes to wake another thread. A reset that took no longer the last time is done by whoever
// made the call: what it sent is out by then, and the instance's memory is in that core's cache.
const shortReset = 20 * time.Microsecond

// finish has an instance that has served made fit for its next call, or closed. It returns true if the caller, who has mu,
// is to reset it afterwards.
func (p *Pools) finish(inst *instance) (reset bool) {
	pl := inst.pool
	if inst.spent {
		pl.leaving++
		close(inst.closing)
		p.changed(pl)
		p.tasks.Go(func() { p.closeInstance(inst, "spent") })
		return false
	}
	pl.resetting++
	p.asBefore(pl)
	if inst.resetTook > 0 && inst.resetTook <= shortReset {
		return true
	}
	p.tasks.Go(func() { p.resetInstance(inst) })
	return false
}

// broken reports whether an instance whose call ended so can't be trusted any more.
func broken(err error) bool {
	for _, kind := range []error{functions.ErrTrap, functions.ErrUnavailable, functions.ErrMemoryLimit, functions.ErrTimeLimit, functions.ErrIdleLimit} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// meter counts what passes between a call and its instance. It reads as two types, one for each side.
type meter struct {
	began             time.Time
	in                functions.Source
	out               functions.Sink
	first             atomic.Int64 // nanoseconds until the function had its first item out, 0 before
	bytesIn, bytesOut atomic.Int64

	idle  *time.Timer // ends the call; nil if it may be idle for any time
	limit time.Duration
}

// limitIdle returns a context that ends when no item has passed for the function's idle limit, if it has one. Stop must be
// called when the call has ended.
func (m *meter) limitIdle(ctx context.Context, manifest *functions.Manifest) (_ context.Context, stop func()) {
	if m.limit = manifest.CallLimits().Idle; m.limit == 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	m.idle = time.AfterFunc(m.limit, func() {
		cancel(fmt.Errorf("%w: no item went in or out for %s; raise limits.idle of function %s if that is sound", functions.ErrIdleLimit, m.limit, manifest.Name))
	})
	return ctx, func() {
		m.idle.Stop()
		cancel(nil)
	}
}

// passed notes that an item has passed.
func (m *meter) passed() {
	if m.idle != nil {
		m.idle.Reset(m.limit)
	}
}

type (
	meterIn  meter
	meterOut meter
)

// Recv implements [functions.Source].
func (m *meterIn) Recv(ctx context.Context) (functions.Item, error) {
	it, err := m.in.Recv(ctx)
	if err == nil {
		m.bytesIn.Add(it.Size())
		(*meter)(m).passed()
	}
	return it, err
}

// Ahead implements [functions.Awaited].
func (m *meterIn) Ahead() (report func(functions.Waits)) { return functions.Ahead(m.in) }

// Send implements [functions.Sink].
func (m *meterOut) Send(ctx context.Context, it functions.Item) error {
	m.first.CompareAndSwap(0, max(1, int64(time.Since(m.began))))
	err := m.out.Send(ctx, it)
	if err == nil {
		m.bytesOut.Add(it.Size())
		(*meter)(m).passed()
	}
	return err
}
