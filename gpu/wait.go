package gpu

import (
	"context"
	"slices"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/queue"
)

// acquire waits in the queue of m for a lease.
func (r *Runtime) acquire(ctx context.Context, m *model, req functions.Generation) (*lease, error) {
	w := newWaiter()
	w.session = req.Session
	w.entry = queue.Entry{Caller: req.Caller, Priority: req.Priority}
	if left, limited := functions.TimeLeft(ctx); limited { // by the run, or by its step or function
		w.entry.Deadline = time.Now().Add(left)
	}
	l, err := r.wait(ctx, m, &m.callers, w, func() {
		w.entry.Arrived, w.entry.Cost = time.Now(), m.costs.Predict(req.MaxTokens)
		m.join(w, r.cfg.QueueDepth)
	})
	if err == nil {
		r.metrics.waited(m.ref.Name, req.Priority, time.Since(w.entry.Arrived))
	}
	return l, err
}

// awaitHot waits until m is hot.
func (r *Runtime) awaitHot(ctx context.Context, m *model) error {
	w := newWaiter()
	_, err := r.wait(ctx, m, &m.wakers, w, func() {
		if len(m.wakers) >= r.cfg.QueueDepth {
			w.outcome <- outcome{err: m.full(r.cfg.QueueDepth), refused: refusedFull}
			return
		}
		m.wakers = append(m.wakers, w)
	})
	return err
}

// wait has w join those who wait for m, which it leaves with an outcome or with ctx.
func (r *Runtime) wait(ctx context.Context, m *model, waiting *[]*waiter, w *waiter, join func()) (*lease, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, m.errorf("%w", errStopping)
	}
	join()
	r.mu.Unlock()
	r.poke()

	select {
	case o := <-w.outcome:
		if o.refused != "" {
			r.metrics.refused(m.ref.Name, o.refused)
		}
		return o.lease, o.err
	case <-ctx.Done():
	}
	r.mu.Lock()
	if i := slices.Index(*waiting, w); i >= 0 {
		*waiting = slices.Delete(*waiting, i, i+1)
	}
	r.mu.Unlock()
	select {
	case o := <-w.outcome: // it had left the queue already: what it got goes back
		r.release(o.lease)
	default:
	}
	return nil, m.errorf("%w", context.Cause(ctx))
}

// join adds a caller to the queue. If that is full somebody is refused, the new caller or one that has to give way.
func (m *model) join(w *waiter, depth int) {
	if len(m.callers) >= depth {
		victim := queue.Yields(m.entries(), w.entry)
		if victim < 0 {
			w.outcome <- outcome{err: m.full(depth), refused: refusedFull}
			return
		}
		m.refuse(m.callers[victim], outcome{
			err:     m.errorf("%w: it gives way to a call of a caller with fewer, or to a more urgent one; try again later", functions.ErrQueueFull),
			refused: refusedYielded,
		})
	}
	m.shares.Admit(w.entry, m.entries(), w.entry.Arrived)
	m.callers = append(m.callers, w)
	m.refuseLate(w.entry.Arrived)
}

// full is what a call gets for which there is no room.
func (m *model) full(depth int) error {
	return m.errorf("%w: %d calls are waiting already; try again later", functions.ErrQueueFull, depth)
}

// refuseLate refuses the callers who can't finish before their deadlines. Of a model that is not hot nothing is said: a
// wake that nobody waits for would never come.
func (m *model) refuseLate(now time.Time) {
	if m.tier != TierHot || !slices.ContainsFunc(m.callers, func(w *waiter) bool { return !w.entry.Deadline.IsZero() }) {
		return
	}
	entries, callers := m.entries(), slices.Clone(m.callers)
	busy := queue.Busy{Slots: len(m.slots), Lent: leases(m.slots), Left: m.shares.Left()}
	for _, late := range queue.Late(entries, queue.Order(entries, &m.shares, now), busy, now) {
		e := entries[late.Index]
		m.refuse(callers[late.Index], outcome{
			err: m.errorf("%w: the wait is predicted to be %s and the answer to take %s, and the call has %s left; try again later, or with more time",
				functions.ErrQueueFull, roughly(late.Wait), roughly(e.Cost), roughly(e.Deadline.Sub(now))),
			refused: refusedLate,
		})
	}
}

// roughly returns d for people: a prediction has no microseconds.
func roughly(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// refuse ends the wait of a caller.
func (m *model) refuse(w *waiter, o outcome) {
	m.callers = slices.DeleteFunc(m.callers, func(other *waiter) bool { return other == w })
	w.outcome <- o
}

func (m *model) entries() []queue.Entry {
	entries := make([]queue.Entry, len(m.callers))
	for i, w := range m.callers {
		entries[i] = w.entry
	}
	return entries
}

// inOrder returns the callers in the order in which they are served.
func (m *model) inOrder(now time.Time) []*waiter {
	order := queue.Order(m.entries(), &m.shares, now)
	next := make([]*waiter, len(order))
	for i, at := range order {
		next[i] = m.callers[at]
	}
	return next
}
