package functions

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Waits is how long a function has waited for items of its input.
type Waits struct {
	Total time.Duration
	Now   bool // and goes on waiting
}

// Awaited is the input of a call that wants to know how long the function waits for it. As long as Ahead was not called,
// that is the time in Recv. Who receives ahead of the function calls Ahead before that, and report from then on: whenever
// the function begins or ends to wait, or at least soon after. Report may be called beside Recv, by one goroutine at a
// time.
type Awaited interface {
	Source
	Ahead() (report func(Waits))
}

// Ahead calls the method of src, if it is [Awaited].
func Ahead(src Source) (report func(Waits)) {
	if a, ok := src.(Awaited); ok {
		return a.Ahead()
	}
	return func(Waits) {}
}

// WaitClock measures [Waits]. The zero value is ready. It may be used from many goroutines.
type WaitClock struct {
	// Changed, if it is set, gets a token when somebody has begun or ended to wait, unless it holds one.
	Changed chan struct{}

	mu      sync.Mutex // guards the fields below
	total   time.Duration
	waiting int // how many wait
	since   time.Time
}

// Begin notes that somebody begins to wait, End that one has ended.
func (w *WaitClock) Begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting++; w.waiting == 1 {
		w.since = time.Now()
	}
	w.signal()
}

// End notes that one of those who wait does not any more.
func (w *WaitClock) End() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting--; w.waiting == 0 {
		w.total += time.Since(w.since)
	}
	w.signal()
}

func (w *WaitClock) signal() {
	select {
	case w.Changed <- struct{}{}:
	default:
	}
}

// Waits returns what was measured until now: the time in which anybody waited.
func (w *WaitClock) Waits() Waits {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := Waits{Total: w.total, Now: w.waiting > 0}
	if now.Now {
		now.Total += time.Since(w.since)
	}
	return now
}

// KnownWaits is what was last reported of waits somewhere else. The zero value says that nobody has waited. It may be used
// from many goroutines.
type KnownWaits struct {
	mu    sync.Mutex // guards the fields below
	waits Waits
	at    time.Time // when it was reported
}

// Report takes what w was until now.
func (k *KnownWaits) Report(w Waits) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waits, k.at = w, time.Now()
}

// Waits returns what is to be assumed by now.
func (k *KnownWaits) Waits() Waits {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.waits
	if w.Now {
		w.Total += time.Since(k.at)
	}
	return w
}

// InputWaits are the waits for the items of a [Source] that is [Awaited]: those in Recv, as long as nobody has called Ahead,
// and what is reported then. Whoever has more to say of the same function's waits uses the clock.
type InputWaits struct {
	WaitClock
	ahead atomic.Bool
	known KnownWaits
}

// Ahead does what [Awaited] says.
func (w *InputWaits) Ahead() (report func(Waits)) {
	w.ahead.Store(true)
	return func(k Waits) {
		w.known.Report(k)
		w.signal()
	}
}

// Recv receives from src.
func (w *InputWaits) Recv(ctx context.Context, src Source) (Item, error) {
	if !w.ahead.Load() {
		w.Begin()
		defer w.End()
	}
	return src.Recv(ctx)
}

// Waits returns what was measured and what is known.
func (w *InputWaits) Waits() Waits {
	own, known := w.WaitClock.Waits(), w.known.Waits()
	return Waits{Total: own.Total + known.Total, Now: own.Now || known.Now}
}

// waitsEvery is how often waits are told over a border. It is short against a time that anybody is blamed for.
const waitsEvery = 50 * time.Millisecond

// TellWaits tells what waits says, soon after each change of it that leaves others with a wrong idea, and a last time when
// done is closed. Changed holds a token when the function has begun or ended to wait.
func TellWaits(done, changed <-chan struct{}, waits func() Waits, tell func(Waits)) {
	var told Waits
	var due <-chan time.Time
	for {
		select {
		case <-changed:
			if due == nil {
				due = time.After(waitsEvery)
			}
		case <-due:
			due = nil
			if w := waits(); w.Now != told.Now || !w.Now && w.Total != told.Total {
				tell(w)
				told = w
			}
		case <-done:
			if w := waits(); w.Total-told.Total >= time.Millisecond { // less is not worth a message
				tell(w)
			}
			return
		}
	}
}
