package functions

import (
	"context"
	"sync"
	"time"
)

// Allowance is a limit of the time that a call may be at work: while its output waits for a reader the limit stands
// still, since that is no fault of the function's. It may be used from many goroutines; nil is no limit.
type Allowance struct {
	outer *Allowance // of the context that it was made for; nil if there was none
	limit time.Duration
	begun time.Time
	waits WaitClock  // in which it stands still
	mu    sync.Mutex // held while timer and waits are brought in line
	timer *time.Timer
}

// WithAllowance returns a context that ends, with cause, when what runs under it has been at work for limit. Stop must be
// called when it has ended.
func WithAllowance(ctx context.Context, limit time.Duration, cause error) (_ context.Context, a *Allowance, stop func()) {
	ctx, end := context.WithCancelCause(ctx)
	a = &Allowance{outer: allowanceOf(ctx), limit: limit, begun: time.Now(), timer: time.AfterFunc(limit, func() { end(cause) })}
	return context.WithValue(ctx, allowanceKey{}, a), a, func() {
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

func (a *Allowance) pause() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits.Begin()
	a.timer.Stop()
}

// resume lets the limit run again, unless somebody else still waits.
func (a *Allowance) resume() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits.End()
	if !a.waits.Waits().Now {
		left, _ := a.Left()
		a.timer.Reset(left)
	}
}

// Left returns how much time is left, and false if nothing limits it.
func (a *Allowance) Left() (time.Duration, bool) {
	if a == nil {
		return 0, false
	}
	return max(0, a.limit-time.Since(a.begun)+a.waits.Waits().Total), true
}

type allowanceKey struct{}

func allowanceOf(ctx context.Context) *Allowance {
	a, _ := ctx.Value(allowanceKey{}).(*Allowance)
	return a
}

// WithTimeLeft returns ctx with a limit that somebody else keeps: [TimeLeft] knows of it, and it ends nothing.
func WithTimeLeft(ctx context.Context, left time.Duration) context.Context {
	return context.WithValue(ctx, allowanceKey{}, &Allowance{outer: allowanceOf(ctx), limit: left, begun: time.Now()})
}

// TimeLeft returns how much time what runs under ctx has at least: until its deadline, and of every allowance. It returns
// false if nothing limits it.
func TimeLeft(ctx context.Context) (left time.Duration, limited bool) {
	if at, ok := ctx.Deadline(); ok {
		left, limited = max(0, time.Until(at)), true
	}
	for a := allowanceOf(ctx); a != nil; a = a.outer {
		if d, _ := a.Left(); !limited || d < left {
			left, limited = d, true
		}
	}
	return left, limited
}
