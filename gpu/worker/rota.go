package worker

import (
	"context"
	"slices"
	"sync"
)

// rota is the order of those who want the next turn. Callers go round: between any two turns of one, every other caller
// who waits has one. The turns of a caller go to whom it has waiting, first come, first served; whoever has had a turn
// comes in again at the end. It is pure.
type rota[T comparable] struct {
	busy  bool
	turn  string    // whose caller's it is, while busy
	lines []line[T] // of the callers who wait, in the order of their turns; none is empty
}

// line is what waits of one caller.
type line[T comparable] struct {
	caller  string
	waiting []T
}

func (r *rota[T]) line(caller string) int {
	return slices.IndexFunc(r.lines, func(l line[T]) bool { return l.caller == caller })
}

// join asks for a turn. It reports whether that is now; otherwise pass will return it.
func (r *rota[T]) join(who T, caller string) bool {
	if !r.busy {
		r.busy, r.turn = true, caller
		return true
	}
	i := r.line(caller)
	if i < 0 {
		i = len(r.lines)
		r.lines = append(r.lines, line[T]{caller: caller})
	}
	r.lines[i].waiting = append(r.lines[i].waiting, who)
	return false
}

// pass ends a turn, and returns whose is the next. Only now the caller's line goes behind those of the callers who have
// come meanwhile.
func (r *rota[T]) pass() (next T, ok bool) {
	if i := r.line(r.turn); i >= 0 {
		l := r.lines[i]
		r.lines = append(slices.Delete(r.lines, i, i+1), l)
	}
	if len(r.lines) == 0 {
		r.busy = false
		return next, false
	}
	next, r.turn = r.lines[0].waiting[0], r.lines[0].caller
	r.drop(0, 0)
	return next, true
}

// leave takes back a join. It reports false if the turn has come already.
func (r *rota[T]) leave(who T, caller string) bool {
	i := r.line(caller)
	if i < 0 {
		return false
	}
	at := slices.Index(r.lines[i].waiting, who)
	if at < 0 {
		return false
	}
	r.drop(i, at)
	return true
}

// drop takes one out of a line, and an empty line out of the rota.
func (r *rota[T]) drop(line, at int) {
	l := &r.lines[line]
	if l.waiting = slices.Delete(l.waiting, at, at+1); len(l.waiting) == 0 {
		r.lines = slices.Delete(r.lines, line, line+1)
	}
}

// turns lends one thing to one goroutine at a time, in the order of its rota.
type turns struct {
	mu   sync.Mutex // guards rota
	rota rota[chan struct{}]
}

// do runs f in a turn, of a caller or, if that is empty, of nobody in particular. It returns the cause of ctx if that ends
// first.
func (t *turns) do(ctx context.Context, caller string, f func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	come := make(chan struct{})
	t.mu.Lock()
	now := t.rota.join(come, caller)
	t.mu.Unlock()
	if !now {
		select {
		case <-come:
		case <-ctx.Done():
			t.mu.Lock()
			left := t.rota.leave(come, caller)
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
