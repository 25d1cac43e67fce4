package worker

import (
	"context"
	"slices"
	"sync"
)

// rota is the order of those who want the model for a moment, for a step or to clear a slot: first come, first served. Whoever has had a turn comes in again at
// the end, so that between any two turns of one, everyone else who waits has one. It is pure.
type rota[T comparable] struct {
	busy    bool
	waiting []T
}

// join asks for a turn. It reports whether that is now; otherwise pass will return it.
func (r *rota[T]) join(who T) bool {
	if r.busy {
		r.waiting = append(r.waiting, who)
		return false
	}
	r.busy = true
	return true
}

// pass ends a turn, and returns whose is the next.
func (r *rota[T]) pass() (next T, ok bool) {
	if len(r.waiting) == 0 {
		r.busy = false
		return next, false
	}
	next = r.waiting[0]
	r.waiting = slices.Delete(r.waiting, 0, 1)
	return next, true
}

// leave takes back a join. It reports false if the turn has come already.
func (r *rota[T]) leave(who T) bool {
	i := slices.Index(r.waiting, who)
	if i < 0 {
		return false
	}
	r.waiting = slices.Delete(r.waiting, i, i+1)
	return true
}

// turns lends one thing to one goroutine at a time, in the order of its rota.
type turns struct {
	mu   sync.Mutex // guards rota
	rota rota[chan struct{}]
}

// do runs f when it is the caller's turn. It returns the cause of ctx if that ends first.
func (t *turns) do(ctx context.Context, f func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	come := make(chan struct{})
	t.mu.Lock()
	now := t.rota.join(come)
	t.mu.Unlock()
	if !now {
		select {
		case <-come:
		case <-ctx.Done():
			t.mu.Lock()
			left := t.rota.leave(come)
			t.mu.Unlock()
			if left {
				return context.Cause(ctx)
			}
			t.pass() // it came at the same moment
			return context.Cause(ctx)
		}
	}
	defer t.pass()
	return f()
}

func (t *turns) pass() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if next, ok := t.rota.pass(); ok {
		close(next)
	}
}
