package functions

import (
	"context"
	"sync"
	"time"
)

// Allowance is a limit of the time that a call may be at work: while its output waits for a reader the limit stands
// still, since that is no fault of the function's. It may be used from many goroutines; nil is no limit.
type Allowance struct {
	end   context.CancelCauseFunc
	cause error
	timer *time.Timer

	mu     sync.Mutex // guards the fields below
	left   time.Duration
	since  time.Time // when it began to run, or to run again
	paused int
}

// WithAllowance returns a context that ends, with cause, when what runs under it has been at work for limit. Stop must be
// called when it has ended.
func WithAllowance(ctx context.Context, limit time.Duration, cause error) (_ context.Context, a *Allowance, stop func()) {
	ctx, end := context.WithCancelCause(ctx)
	a = &Allowance{end: end, cause: cause, left: limit, since: time.Now()}
	a.timer = time.AfterFunc(limit, func() { end(cause) })
	return ctx, a, func() {
		a.timer.Stop()
		end(nil)
	}
}

// Sink returns out with the limit standing still while it takes an item.
func (a *Allowance) Sink(out Sink) Sink {
	if a == nil {
		return out
	}
	return SinkFunc(func(ctx context.Context, it Item) error {
		a.pause()
		defer a.resume()
		return out.Send(ctx, it)
	})
}

// Left returns how much time is left, and false if nothing limits it.
func (a *Allowance) Left() (time.Duration, bool) {
	if a == nil {
		return 0, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.paused > 0 {
		return a.left, true
	}
	return max(0, a.left-time.Since(a.since)), true
}

func (a *Allowance) pause() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.paused++; a.paused == 1 && a.timer.Stop() { // else it has gone off
		a.left -= time.Since(a.since)
	}
}

func (a *Allowance) resume() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.paused--; a.paused == 0 {
		a.since = time.Now()
		a.timer.Reset(max(0, a.left))
	}
}
