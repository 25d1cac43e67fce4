package functions

import (
	"context"
	"fmt"
	"sync"
)

// Turns tells which turns of a run are over. A turn is over once it was interrupted; with it all earlier ones are. A nil
// *Turns is that of a run in which nothing is ever interrupted. It may be used from many goroutines.
type Turns struct {
	mu      sync.Mutex // guards the fields below
	first   uint64     // the first turn that is not over
	changed chan struct{}
	open    map[*turnContext]struct{}
}

// turnContext is a context that ends with its turn.
type turnContext struct {
	turn   uint64
	cancel context.CancelCauseFunc
}

func (c *turnContext) interrupt() { c.cancel(fmt.Errorf("%w: turn %d", ErrInterrupted, c.turn)) }

// NewTurns returns turns of which none is over.
func NewTurns() *Turns {
	return &Turns{changed: make(chan struct{}), open: map[*turnContext]struct{}{}}
}

// End makes turn and all before it over. It reports whether that is news.
func (t *Turns) End(turn uint64) bool { return t.Advance(turn + 1) }

// Advance makes all turns before first over. It reports whether that is news.
func (t *Turns) Advance(first uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if first <= t.first {
		return false
	}
	t.first = first
	close(t.changed)
	t.changed = make(chan struct{})
	for c := range t.open {
		if c.turn < first {
			c.interrupt()
			delete(t.open, c)
		}
	}
	return true
}

// Over reports whether turn is over.
func (t *Turns) Over(turn uint64) bool {
	first, _ := t.First()
	return turn < first
}

// First returns the first turn that is not over, and a channel that is closed when that changes. Of a nil *Turns the
// channel is nil.
func (t *Turns) First() (uint64, <-chan struct{}) {
	if t == nil {
		return 0, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.first, t.changed
}

// Context returns a context that ends, with a cause that wraps [ErrInterrupted], when turn is over. The caller cancels it
// when it is done with the turn: until then the Turns keep it.
func (t *Turns) Context(ctx context.Context, turn uint64) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if t == nil {
		return ctx, func() { cancel(nil) }
	}
	c := &turnContext{turn, cancel}
	t.mu.Lock()
	defer t.mu.Unlock()
	if turn < t.first {
		c.interrupt()
	} else {
		t.open[c] = struct{}{}
	}
	return ctx, func() {
		cancel(nil)
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.open, c)
	}
}
