package gpu

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// model is one version of a model and the queue before it. The Runtime's mu guards all that is not final.
type model struct {
	ref  functions.Ref    // final
	spec *functions.Model // final

	device *device // final once the Runtime keeps the model

	tier    Tier      // hot, parked or cold
	moving  bool      // an action is under way
	slots   []slot    // none unless hot
	callers []*waiter // first come first served
	wakers  []*waiter

	lastUse  time.Time
	memBytes int64
	asked    time.Time     // since when somebody waits for it to wake; zero if nobody does
	wakeTime time.Duration // from asked to hot, the last time: the worker's start is in it
	why      error         // of the last load, if it failed
	proven   bool          // a worker has loaded it, or an endpoint has answered Prepare

	promptTokens, reusedTokens int64
}

// waiter is one call that waits for a model. Its channel gets exactly one outcome, when it leaves the queue.
type waiter struct {
	session string
	outcome chan outcome // holds one
}

// outcome is a lease for a caller, nothing for a waker, or why there is neither.
type outcome struct {
	lease *lease
	err   error
}

func newWaiter(session string) *waiter {
	return &waiter{session: session, outcome: make(chan outcome, 1)}
}

// lease is the right to use one slot of a model. The worker that holds the model is the one that it was lent from.
type lease struct {
	model   *model
	worker  *worker
	slot    int
	session string // for whom the slot keeps what it reads; empty if for nobody
}

func (m *model) view(idleAfter time.Duration) modelView {
	if m.spec.Idle > 0 {
		idleAfter = m.spec.Idle
	}
	return modelView{
		tier:      m.tier,
		moving:    m.moving,
		slots:     len(m.slots),
		leases:    leases(m.slots),
		callers:   len(m.callers),
		wakers:    len(m.wakers),
		idleAfter: idleAfter,
		lastUse:   m.lastUse,
	}
}

// noteWait keeps book of since when somebody waits for the model to wake.
func (m *model) noteWait(now time.Time) {
	switch {
	case m.tier == TierHot || len(m.callers)+len(m.wakers) == 0:
		m.asked = time.Time{}
	case m.asked.IsZero():
		m.asked = now
	}
}

// serve tells the wakers that the model is hot, and lends its free slots to the first callers.
func (m *model) serve(w *worker, now time.Time) {
	for _, wk := range m.wakers {
		wk.outcome <- outcome{}
	}
	m.wakers = nil
	m.lastUse = now // whoever woke it is about to call
	for len(m.callers) > 0 {
		first := m.callers[0]
		i, kept := pick(m.slots, first.session)
		if i < 0 {
			return
		}
		m.callers = slices.Delete(m.callers, 0, 1)
		l := &lease{model: m, worker: w, slot: i}
		if kept {
			l.session = first.session
		}
		m.slots[i] = slot{lease: l, session: l.session}
		first.outcome <- outcome{lease: l}
	}
}

// fail ends everyone who waits.
func (m *model) fail(err error) {
	for _, w := range slices.Concat(m.callers, m.wakers) {
		w.outcome <- outcome{err: err}
	}
	m.callers, m.wakers = nil, nil
}

// errorf names the model in an error.
func (m *model) errorf(format string, args ...any) error {
	return fmt.Errorf("model %s: "+format, append([]any{m.ref.Name}, args...)...)
}

// wait joins a queue of m, that of the wakers or that of the callers, and leaves it with an outcome or with ctx.
func (r *Runtime) wait(ctx context.Context, m *model, queue *[]*waiter, session string) (*lease, error) {
	w := newWaiter(session)
	r.mu.Lock()
	switch {
	case r.closed:
		r.mu.Unlock()
		return nil, m.errorf("%w", errStopping)
	case len(*queue) >= r.cfg.QueueDepth:
		r.mu.Unlock()
		return nil, m.errorf("%w: %d calls are waiting already; try again later", functions.ErrQueueFull, r.cfg.QueueDepth)
	}
	*queue = append(*queue, w)
	r.mu.Unlock()
	r.poke()

	select {
	case o := <-w.outcome:
		return o.lease, o.err
	case <-ctx.Done():
	}
	r.mu.Lock()
	if i := slices.Index(*queue, w); i >= 0 {
		*queue = slices.Delete(*queue, i, i+1)
	}
	r.mu.Unlock()
	select {
	case o := <-w.outcome: // it had left the queue already: what it got goes back
		r.release(o.lease)
	default:
	}
	return nil, m.errorf("%w", context.Cause(ctx))
}

// release ends a lease. It may be called more than once, and with nil.
func (r *Runtime) release(l *lease) {
	if l == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := l.model
	if l.slot >= len(m.slots) || m.slots[l.slot].lease != l {
		return // ended before, or with its worker
	}
	s := &m.slots[l.slot]
	if s.ended {
		r.forgetLocked(m, l.slot)
	}
	now := time.Now()
	s.lease, s.lastUse, m.lastUse = nil, now, now
	r.poke()
}
