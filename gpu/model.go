package gpu

import (
	"fmt"
	"slices"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/queue"
)

// model is one version of a model and the queue before it. The Runtime's mu guards all that is not final.
type model struct {
	ref  functions.Ref    // final
	spec *functions.Model // final

	device *device // final once the Runtime keeps the model

	tier    Tier      // hot, parked or cold
	moving  bool      // an action is under way
	slots   []slot    // none unless hot
	callers []*waiter // in the order of their arrival
	wakers  []*waiter
	shares  queue.Shares
	costs   queue.Costs

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
	entry   queue.Entry // of a caller
	session string
	outcome chan outcome // holds one
}

// outcome is a lease for a caller, nothing for a waker, or why there is neither.
type outcome struct {
	lease   *lease
	err     error
	refused string // for what reason, if the queue did: see metrics
}

func newWaiter() *waiter { return &waiter{outcome: make(chan outcome, 1)} }

// lease is the right to use one slot of a model. The worker that holds the model is the one that it was lent from.
type lease struct {
	model   *model
	worker  *worker
	slot    int
	session string // for whom the slot keeps what it reads; empty if for nobody

	loan  *queue.Loan // the model's shares know it by this
	whole bool        // the answer came to its end
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

// serve tells the wakers that the model is hot, refuses the callers who can't finish in time, and lends the free slots to
// those who are next.
func (m *model) serve(w *worker, now time.Time) {
	for _, wk := range m.wakers {
		wk.outcome <- outcome{}
	}
	m.wakers = nil
	m.lastUse = now // whoever woke it is about to call
	m.refuseLate(now)
	for _, next := range m.inOrder(now) {
		if !m.shares.MayTake(next.entry.Caller, len(m.slots)-leases(m.slots), now) {
			continue
		}
		m.callers = slices.DeleteFunc(m.callers, func(wt *waiter) bool { return wt == next })
		next.outcome <- outcome{lease: m.lend(w, next, now)}
	}
}

// lend gives a caller a slot; one is free.
func (m *model) lend(w *worker, to *waiter, now time.Time) *lease {
	i, kept := pick(m.slots, to.session)
	l := &lease{model: m, worker: w, slot: i, loan: m.shares.Lend(to.entry, now)}
	if kept {
		l.session = to.session
	}
	m.slots[i] = slot{lease: l, session: l.session}
	return l
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

// release ends a lease. It may be called more than once, and with nil.
func (r *Runtime) release(l *lease) {
	if l == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m, now := l.model, time.Now()
	m.shares.Return(l.loan, l.whole, now)
	if l.slot >= len(m.slots) || m.slots[l.slot].lease != l {
		return // ended before, or with its worker
	}
	s := &m.slots[l.slot]
	if s.ended {
		r.forgetLocked(m, l.slot)
	}
	s.lease, s.lastUse, m.lastUse = nil, now, now
	r.poke()
}
