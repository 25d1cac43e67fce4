package wasm

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
)

// instance is one guest. It serves a call, and after a Reset another one.
type instance struct {
	id    string
	code  *code
	guest *guest

	mu     sync.Mutex // guards the fields below
	used   bool       // since the start or the last reset
	spent  error      // why it can't be reset; nil if it can
	kept   int64      // bytes of memory after the last reset; 0 before it
	closed bool
	busy   chan struct{}           // closed when the call or the reset that runs has ended; nil if none does
	cancel context.CancelCauseFunc // of the call that runs; nil if none does
	freed  sync.Once
	err    error // of closing the guest
}

// ID is the function's name and a number.
func (in *instance) ID() string { return in.id }

// Done returns nil: a guest does not end by itself.
func (in *instance) Done() <-chan struct{} { return nil }

// Serve runs one call.
func (in *instance) Serve(ctx context.Context, src functions.Source, sink functions.Sink, host functions.Host) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := in.begin(cancel); err != nil {
		return err
	}
	why := errors.New("its call was cut off") // by a panic
	defer func() { in.end(why) }()
	p := in.code.program
	ctx, left, stop := limitCall(ctx, p.manifest)
	defer stop()
	c := newCall(ctx, cancel, p.manifest, host, in.guest.clock, in.guest.nextFD)
	defer c.end()
	c.allowance = left
	err := p.serve(c, in.guest, src, sink)
	why = in.unfit()
	return err
}

// unfit says why the guest can't be reset after its call, or nothing.
func (in *instance) unfit() error {
	switch {
	case in.code.image == nil:
		return errors.New("it was not made from an image")
	case in.guest.trapped:
		return errors.New("it has trapped")
	}
	return nil
}

func (in *instance) begin(cancel context.CancelCauseFunc) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.closed:
		return fmt.Errorf("instance %s: %w", in.id, functions.ErrClosed)
	case in.used:
		return fmt.Errorf("instance %s: %w: it was not reset after its last call", in.id, sandbox.ErrSpent)
	}
	in.used, in.cancel, in.busy = true, cancel, make(chan struct{})
	return nil
}

// end notes that nothing runs any more. What has begun counts as used up if why is not nil.
func (in *instance) end(why error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.spent = why
	in.cancel = nil
	close(in.busy)
	in.busy = nil
}

// Reset puts the guest back to where its image was taken, with new random numbers: it can tell from a fresh one only by
// its clock, which goes on. A guest that trapped or grew is spent, and so is one without an image.
func (in *instance) Reset(context.Context) error {
	if done, err := in.beginReset(); done || err != nil {
		return err
	}
	why := errors.New("its reset was cut off") // by a panic
	defer func() { in.end(why) }()
	if why = in.code.reset(in.guest); why != nil {
		return fmt.Errorf("instance %s: %w: %w", in.id, sandbox.ErrSpent, why)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.used, in.kept = false, in.guest.mem.KeptBytes()
	return nil
}

// beginReset reports whether nothing is to be done.
func (in *instance) beginReset() (done bool, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.closed:
		return false, fmt.Errorf("instance %s: %w: it is closed", in.id, sandbox.ErrSpent)
	case in.busy != nil:
		return false, fmt.Errorf("instance %s: reset while it is in use", in.id)
	case in.spent != nil:
		return false, fmt.Errorf("instance %s: %w: %w", in.id, sandbox.ErrSpent, in.spent)
	}
	if in.used {
		in.busy = make(chan struct{})
	}
	return !in.used, nil
}

// MemBytes is what the guest has of its memory for itself: the pages that were written.
func (in *instance) MemBytes() int64 {
	in.mu.Lock()
	kept := in.kept
	if in.used {
		kept = 0
	}
	in.mu.Unlock()
	if kept > 0 {
		return kept // the kernel would say the same
	}
	return in.guest.mem.PrivateBytes()
}

// Close ends the call that runs, waits for it, and frees the guest.
func (in *instance) Close() error {
	in.mu.Lock()
	in.closed = true
	if in.cancel != nil {
		in.cancel(fmt.Errorf("instance %s: %w", in.id, functions.ErrClosed))
	}
	busy := in.busy
	in.mu.Unlock()
	if busy != nil {
		<-busy
	}
	in.freed.Do(func() { in.err = in.guest.close() })
	return in.err
}
