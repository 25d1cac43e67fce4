package wasm

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// A guest that blocks does so in the host function itself: its call is one goroutine. A guest that waits for several
// things at once does so in poll_oneoff, and each descriptor that it has set non-blocking gets a goroutine of the call,
// which does the blocking for it: one item ahead on the way in, one item behind on the way out.

// graceTime is what a guest with non-blocking descriptors gets to return after its call has ended: enough for a
// hundred goroutines to hear of it and unwind, too little to be felt by who waits for the instance.
const graceTime = 100 * time.Millisecond

// errAgain says that there is nothing yet.
var errAgain = errors.New("nothing yet")

// async is what a call has from when its guest first sets a descriptor non-blocking.
type async struct {
	cancel context.CancelCauseFunc // the call
	wake   chan struct{}           // holds a token if something may have become ready
	pumps  sync.WaitGroup

	// For the guest's goroutine alone:
	timer  *time.Timer           // of the wait in poll_oneoff
	rings  time.Time             // when it goes off; zero if it is not set
	stopAt time.Time             // when the guest is stopped; zero until it has been told that its call has ended
	hailed bool                  // its timers have gone off for that
	waits  functions.WaitClock   // for the input
	report func(functions.Waits) // tells how long it has waited; set where the input is read ahead
}

// idles notes that the guest begins to wait for its input, or has it.
func (a *async) idles(now bool) {
	if now {
		a.waits.Begin()
	} else {
		a.waits.End()
	}
	a.report(a.waits.Waits())
}

// startAsync makes the call one whose guest can wait for many things.
func (c *call) startAsync() *async {
	if c.async == nil {
		c.async = &async{cancel: c.cancel, wake: make(chan struct{}, 1)}
	}
	return c.async
}

// notify wakes the guest if it waits.
func (a *async) notify() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// ended reports whether the call's context has ended. A guest that blocks never learns of it: it is stopped here. One
// that does not is told by every host function that asks, and stopped when its grace is over.
func (c *call) ended() bool {
	if c.ctx.Err() == nil {
		return false
	}
	a := c.async
	switch {
	case a == nil:
		c.abort(context.Cause(c.ctx))
	case a.stopAt.IsZero():
		a.stopAt = time.Now().Add(graceTime)
	case time.Now().After(a.stopAt):
		c.abort(context.Cause(c.ctx))
	}
	return true
}

// broken ends the call for err, of its input or its output: at once for a guest that blocks, and as any other end for
// one that does not.
func (c *call) broken(err error) {
	if c.async == nil {
		c.abort(err)
	}
	c.async.cancel(err)
	c.ended() // its guest is about to be told
}

// await blocks until ready says so. It returns false if the call has ended first.
func (c *call) await(ready func() bool) bool {
	for !ready() {
		if c.ended() {
			return false
		}
		select {
		case <-c.async.wake:
		case <-c.ctx.Done():
		}
	}
	return true
}

// ahead receives for a guest that does not wait: one item, and the next one when that has been taken. Its methods are for
// the guest's goroutine.
type ahead[T any] struct {
	cancel context.CancelFunc
	want   chan struct{} // holds a token if an item shall be received
	got    chan received[T]
	done   chan struct{} // closed when the goroutine has ended
	next   *received[T]  // got and not taken
}

type received[T any] struct {
	item T
	err  error
}

// readAhead begins to receive, by recv, until an error comes or it is stopped; then it calls end, which may be nil.
func readAhead[T any](ctx context.Context, a *async, recv func(context.Context) (T, error), end func()) *ahead[T] {
	ctx, cancel := context.WithCancel(ctx)
	h := &ahead[T]{cancel: cancel, want: make(chan struct{}, 1), got: make(chan received[T], 1), done: make(chan struct{})}
	h.want <- struct{}{}
	a.pumps.Go(func() {
		defer close(h.done)
		if end != nil {
			defer end()
		}
		for {
			select {
			case <-h.want:
			case <-ctx.Done():
				return
			}
			item, err := recv(ctx)
			h.got <- received[T]{item, err} // it has room: what was there has been taken
			a.notify()
			if err != nil {
				return
			}
		}
	})
	return h
}

// ready reports whether take has something.
func (h *ahead[T]) ready() bool {
	if h.next == nil {
		select {
		case r := <-h.got:
			h.next = &r
		default:
		}
	}
	return h.next != nil
}

// take returns the next item, or errAgain. An error of the source stays.
func (h *ahead[T]) take() (item T, err error) {
	if !h.ready() {
		return item, errAgain
	}
	r := *h.next
	if r.err == nil {
		h.next = nil
		h.want <- struct{}{}
	}
	return r.item, r.err
}

// stop ends it and waits for that.
func (h *ahead[T]) stop() {
	h.cancel()
	<-h.done
}

// behind sends for a guest that does not wait: one item at a time. Its methods are for the guest's goroutine.
type behind struct {
	items chan functions.Item
	sent  chan struct{}
	busy  bool
}

// sendBehind begins to send to sink what is put. A failure ends the call.
func sendBehind(ctx context.Context, a *async, sink functions.Sink) *behind {
	b := &behind{items: make(chan functions.Item, 1), sent: make(chan struct{}, 1)}
	a.pumps.Go(func() {
		for {
			select {
			case it := <-b.items:
				if err := sink.Send(ctx, it); err != nil {
					a.cancel(err) // it stays busy: nothing else must be sent
					return
				}
				b.sent <- struct{}{}
				a.notify()
			case <-ctx.Done():
				return
			}
		}
	})
	return b
}

// ready reports whether put may be called.
func (b *behind) ready() bool {
	if b.busy {
		select {
		case <-b.sent:
			b.busy = false
		default:
		}
	}
	return !b.busy
}

func (b *behind) put(it functions.Item) {
	b.items <- it
	b.busy = true
}
