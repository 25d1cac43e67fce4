package wasm

import (
	"context"
	"fmt"
	"sync"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
)

// instance is one guest. It serves one call in its life: what a call leaves behind goes with it.
type instance struct {
	id      string
	program *program
	guest   *guest

	mu     sync.Mutex // guards the fields below
	used   bool
	closed bool
	cancel context.CancelCauseFunc // of the call that runs; nil if none does
	served chan struct{}           // closed when that call has ended
	freed  sync.Once
	err    error // of closing the guest
}

// ID is the function's name and a number.
func (in *instance) ID() string { return in.id }

// Done returns nil: a guest does not end by itself.
func (in *instance) Done() <-chan struct{} { return nil }

// Reset returns sandbox.ErrSpent: a new instance costs less than to make sure that an old one is clean.
func (in *instance) Reset(context.Context) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.used && !in.closed {
		return nil
	}
	return sandbox.ErrSpent
}

// Serve runs the one call that the instance serves.
func (in *instance) Serve(ctx context.Context, src functions.Source, sink functions.Sink, host functions.Host) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := in.begin(cancel); err != nil {
		return err
	}
	defer in.end()
	ctx, stop := limitTime(ctx, in.program.manifest)
	defer stop()
	c := newCall(ctx, in.program.manifest, host, in.guest.clock, in.guest.nextFD)
	defer c.end()
	return in.program.serve(c, in.guest, src, sink)
}

func (in *instance) begin(cancel context.CancelCauseFunc) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.closed:
		return fmt.Errorf("instance %s: %w", in.id, functions.ErrClosed)
	case in.used:
		return fmt.Errorf("instance %s: %w", in.id, sandbox.ErrSpent)
	}
	in.used, in.cancel, in.served = true, cancel, make(chan struct{})
	return nil
}

func (in *instance) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.cancel = nil
	close(in.served)
}

// MemBytes is what the guest has written of its memory.
func (in *instance) MemBytes() int64 { return in.guest.mem.PrivateBytes() }

// Close ends the call that runs, waits for it, and frees the guest.
func (in *instance) Close() error {
	in.mu.Lock()
	in.closed = true
	if in.cancel != nil {
		in.cancel(fmt.Errorf("instance %s: %w", in.id, functions.ErrClosed))
	}
	served := in.served
	in.mu.Unlock()
	if served != nil {
		<-served
	}
	in.freed.Do(func() { in.err = in.guest.close() })
	return in.err
}
