package chains

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
)

// stepCall is one call of a step: the source and the sink of its invoker. It holds the call to what its function has
// declared, measures how long it works, and remembers what went wrong, whatever the invoker makes of it.
type stepCall struct {
	x     *exec
	n     *node
	src   functions.Source
	out   *outlet
	begun time.Time
	// allowance is the step's own limit.
	allowance *functions.Allowance

	waits functions.InputWaits // of the two sides

	// The source and the sink may be used side by side.
	mu    sync.Mutex // guards the fields below
	last  functions.Item
	held  functions.HeldBlobs
	broke bool // the input broke off

	// These are of the sink.
	sent    int
	refused error // an item that may not pass
	broken  error // an item that could not be handed on
}

// invokeOne makes one call with one item. It returns errInterrupted if the item's turn is over.
func (x *exec) invokeOne(n *node, it functions.Item, out *outlet) error {
	ctx := x.ctx
	if n.turned {
		if x.turns.Over(it.Turn) {
			return errInterrupted
		}
		var forget context.CancelFunc
		ctx, forget = x.turns.Context(ctx, it.Turn)
		defer forget()
	}
	c := &stepCall{x: x, n: n, src: functions.Items(it), out: out}
	c.came(it) // what the function sends without a look at its input is of it, too
	err := x.invoke(ctx, c)
	if err != nil && n.turned && x.turns.Over(it.Turn) && x.ctx.Err() == nil {
		return errInterrupted
	}
	return err
}

// invokeStream makes the call that takes all of a stream.
func (x *exec) invokeStream(n *node, out *outlet) error {
	c := &stepCall{x: x, n: n, src: x.edges[n.from], out: out}
	err := x.invoke(x.ctx, c)
	switch {
	case err == nil || err == errUnread:
		return err
	case c.broke:
		return errLeft // the fault is that of who wrote it
	case errors.Is(err, functions.ErrInterrupted):
		return fmt.Errorf("%w: %s ended with a turn that was interrupted: it has to go on with the next one: %v", functions.ErrFunction, n.ref, err)
	}
	return err
}

// invoke makes one call of a step under ctx, which ends with the run's.
func (x *exec) invoke(ctx context.Context, c *stepCall) error {
	if d := c.n.step.Timeout; d > 0 {
		var stop func()
		ctx, c.allowance, stop = functions.WithAllowance(ctx, d, fmt.Errorf("%w: the step's timeout of %s, waits for an instance included", functions.ErrTimeLimit, d))
		defer stop()
	}
	call := functions.Call{
		Ref: c.n.ref, Models: c.n.models, Chain: x.plan.graph.Spec.Name, Step: c.n.step.Name, Run: x.r.ID,
		Caller: x.r.Caller, Priority: functions.Priority(x.plan.graph.Spec.Priority),
	}
	if c.n.turned {
		call.Turns = x.turns
	}
	c.begun = time.Now()
	x.mu.Lock()
	x.calls[c] = struct{}{}
	x.mu.Unlock()
	timing, err := x.enter(ctx, call, c)
	x.record(c, timing)
	if err = c.outcome(err); err != errUnread && ctx.Err() != nil {
		return context.Cause(ctx) // whatever the call makes of it: one that says nothing may not have said all
	}
	return err
}

// enter calls the invoker and turns its panic into an error: a panic must not end the process and all other runs.
func (x *exec) enter(ctx context.Context, call functions.Call, c *stepCall) (t functions.Timing, err error) {
	defer func() {
		if p := recover(); p != nil {
			x.r.Log.Error("invoker panicked", "chain", call.Chain, "run", call.Run, "step", call.Step, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %s: panic: %v", functions.ErrTrap, call.Ref, p)
		}
	}()
	return x.r.Invoker.Invoke(ctx, call, (*callSource)(c), (*callSink)(c))
}

// record adds a call that has ended to what its step took.
func (x *exec) record(c *stepCall, t functions.Timing) {
	start, busy := c.begun.Sub(x.begin), c.busy(time.Now())
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.calls, c)
	if x.ctx.Err() != nil {
		x.cut[c.n.index] = true
	}
	s := &x.timings[c.n.index]
	if s.Calls == 0 {
		*s = StepTiming{Step: c.n.step.Name, Timing: t, Start: start, Busy: busy, Calls: 1}
		return
	}
	s.Calls++
	s.Wake += t.Wake
	s.Queue += t.Queue
	s.Busy += busy
	s.BytesIn += t.BytesIn
	s.BytesOut += t.BytesOut
	s.Total = start + t.Total - s.Start
}

// busy returns how long the call has worked until now. While a side waits the call counts as idle: what it does meanwhile
// on the other side can't be told from outside.
func (c *stepCall) busy(now time.Time) time.Duration {
	return max(0, now.Sub(c.begun)-c.waits.Waits().Total)
}

// came notes an item of the input; mu is held, or nobody else knows the call yet.
func (c *stepCall) came(it functions.Item) {
	c.last = functions.Item{Turn: it.Turn, Time: it.Time}
	c.held.Add(it.Blobs)
}

// callSource is a call as the source of its items. It is [functions.Awaited].
type callSource stepCall

// Ahead implements [functions.Awaited].
func (s *callSource) Ahead() (report func(functions.Waits)) { return s.waits.Ahead() }

// Recv returns the next item.
func (s *callSource) Recv(ctx context.Context) (functions.Item, error) {
	c := (*stepCall)(s)
	it, err := c.waits.Recv(ctx, c.src)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.came(it)
	case err != io.EOF && ctx.Err() == nil:
		c.broke = true
	}
	return it, err
}

// callSink is a call as the sink of what it yields.
type callSink stepCall

// Send checks it, completes it and hands it on.
func (s *callSink) Send(ctx context.Context, it functions.Item) error {
	c := (*stepCall)(s)
	if err := cmp.Or(c.refused, c.broken); err != nil {
		return err
	}
	if it, c.refused = c.complete(it); c.refused != nil {
		return c.refused
	}
	c.waits.Begin()
	c.broken = c.allowance.Sink(c.out).Send(ctx, it)
	c.waits.End()
	if c.broken != nil {
		return c.broken
	}
	c.sent++
	return nil
}

// unary reports whether one call has to give exactly one item.
func (c *stepCall) unary() bool { return !c.n.stream }

func (c *stepCall) complete(it functions.Item) (functions.Item, error) {
	switch {
	case len(it.Value) == 0:
		return it, fmt.Errorf("%w: %s sent an item without a value", functions.ErrFunction, c.n.ref)
	case c.unary() && c.sent > 0:
		return it, fmt.Errorf("%w: %s gives one value and sent a second one", functions.ErrFunction, c.n.ref)
	}
	// Here the fault has a step. Further on it would be blamed on whoever reads the value first.
	refs, err := value.CheckBlobs(c.n.out.Schema, it.Value)
	if err != nil {
		return it, fmt.Errorf("%w: %s sent what its output's type does not allow: %v", functions.ErrFunction, c.n.ref, reason(err))
	}
	c.mu.Lock()
	last := c.last
	c.mu.Unlock()
	if !c.n.takes {
		it.Turn = last.Turn
	} else if err := c.x.stepTurn(c.n, it.Turn); err != nil {
		return it, err
	}
	if it.Time.IsZero() || c.unary() {
		it.Time = last.Time
	}
	if err := c.carry(&it, refs); err != nil {
		return it, err
	}
	if size := it.Size(); size > c.x.r.MaxItemBytes {
		return it, fmt.Errorf("%w: %s sent an item of %d bytes; an edge takes %d", functions.ErrOutputLimit, c.n.ref, size, c.x.r.MaxItemBytes)
	}
	return it, nil
}

// carry attaches those of refs, the blobs that the value refers to, that only came in with the call's input.
func (c *stepCall) carry(it *functions.Item, refs []functions.Blob) error {
	for _, ref := range refs {
		if slices.ContainsFunc(it.Blobs, func(a functions.Attachment) bool { return a.Digest == ref.Digest }) {
			continue
		}
		c.mu.Lock()
		att, ok := c.held.Find(ref.Digest)
		c.mu.Unlock()
		if !ok {
			return fmt.Errorf("%w: the output of %s refers to blob %s, which came neither with it nor with the input",
				functions.ErrFunction, c.n.ref, ref.Digest.Short())
		}
		it.Blobs = append(slices.Clip(it.Blobs), att)
	}
	return nil
}

// outcome returns why the call has failed, if it has: err is what the invoker says. What was refused comes first, since
// the invoker can only echo it. It returns errUnread if the call ended since nobody reads what it yields.
func (c *stepCall) outcome(err error) error {
	if c.refused == nil && c.broken == errUnread {
		return errUnread
	}
	if err := cmp.Or(c.refused, err, c.broken); err != nil {
		return err
	}
	if c.unary() && c.sent == 0 {
		return fmt.Errorf("%w: %s ended without a value", functions.ErrFunction, c.n.ref)
	}
	return nil
}
