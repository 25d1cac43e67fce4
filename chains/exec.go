package chains

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
)

var (
	// errUntaken is what a writer hears from an edge into a branch that was not taken.
	errUntaken = errors.New("the branch was not taken")
	// errLeft is why a step gives up when the fault is not its own: the run ends.
	errLeft = errors.New("the run ends")
	// errRunOver ends the wakes that nobody waits for any more.
	errRunOver = errors.New("the run is over")
)

// exec is one run. Each step that is live has one goroutine; steps counts them, and Run's own goroutine joins them.
type exec struct {
	plan   *Plan
	r      Run
	ctx    context.Context // ends with the caller's, at the first failure, and when the run is over
	cancel context.CancelCauseFunc
	begin  time.Time
	input  func() (any, error) // the chain's input as CEL sees it, decoded once

	// edges and timings are by number. A goroutine is started after the edges that it uses are made; a timing is
	// written by the step's goroutine only.
	edges    []*functions.Stream
	timings  []StepTiming
	observed map[string]bool

	steps sync.WaitGroup
	wakes sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	failed *functions.StepError
	left   bool // a step gave up because the run ends
}

func newExec(ctx context.Context, p *Plan, r Run) *exec {
	x := &exec{
		plan:     p,
		r:        r,
		begin:    time.Now(),
		edges:    make([]*functions.Stream, p.edges),
		timings:  make([]StepTiming, len(p.steps)),
		observed: map[string]bool{},
	}
	x.ctx, x.cancel = context.WithCancelCause(ctx)
	x.input = sync.OnceValues(func() (any, error) {
		v, err := value.Any(p.in.Schema, r.In.Value)
		return present(p.in.Schema, v), err
	})
	for _, step := range r.Observe {
		x.observed[step] = true
	}
	return x
}

// run starts the chain, carries its output to the caller and joins all.
func (x *exec) run() error {
	defer x.cancel(errRunOver)
	x.wake(x.plan.wake)
	x.open(x.plan.top)
	in := x.r.In
	in.Seq = 0
	for _, e := range x.plan.feed {
		// The edge is open and empty: this never waits and never fails.
		_ = x.edges[e].Send(x.ctx, in)
		x.edges[e].CloseSend(nil)
	}
	x.start(x.plan.top)
	x.deliver()
	x.steps.Wait()
	x.cancel(errRunOver)
	x.wakes.Wait()

	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.failed != nil:
		return x.failed
	case x.left:
		return fmt.Errorf("chain %s: %w", x.plan.graph.Spec.Name, ended(x.ctx))
	}
	return nil
}

// deliver carries the chain's output to the caller.
func (x *exec) deliver() {
	for {
		it, err := x.recv(x.plan.top.out)
		if err == io.EOF {
			return
		}
		if err != nil {
			x.leave()
			return
		}
		if err := x.r.Out.Send(x.ctx, it); err != nil {
			if x.ctx.Err() != nil {
				x.leave()
				return
			}
			x.fail(x.plan.graph.Spec.Out, fmt.Errorf("send the chain's output: %w", err))
			return
		}
	}
}

// open makes the edges that the steps of b write.
func (x *exec) open(b *block) {
	for _, e := range b.edges {
		x.edges[e] = functions.NewStream(x.r.EdgeItems, x.r.EdgeBytes)
	}
}

// start gives every step of b its goroutine.
func (x *exec) start(b *block) {
	for _, n := range b.nodes {
		x.steps.Go(func() { x.step(n) })
	}
}

// wake asks for what a block needs, beside the steps. Its failure is not the run's: a step that needs what did not
// wake fails by itself, and says so better.
func (x *exec) wake(n needs) {
	if n.empty() {
		return
	}
	x.wakes.Go(func() {
		if err := x.r.Invoker.Wake(x.ctx, sorted(n.fns), sorted(n.models)); err != nil && x.ctx.Err() == nil {
			x.r.Log.Info("wake", "chain", x.plan.graph.Spec.Name, "run", x.r.ID, "err", err)
		}
	})
}

// step runs one step to its end and closes what it writes.
func (x *exec) step(n *node) {
	out := x.outlet(n)
	var err error
	switch n.step.Op {
	case spec.OpCall:
		err = x.call(n, out)
	case spec.OpEach:
		err = x.each(n, out)
	case spec.OpLast:
		err = x.last(n, out)
	case spec.OpSwitch:
		err = x.choose(n, out)
	}
	switch {
	case err == nil:
	case errors.Is(err, errLeft):
		x.leave()
	default:
		x.fail(n.step.Name, err)
	}
	out.close(err)
}

// recv takes the next item of an edge for a step that is not in a call. It returns io.EOF at its end and errLeft if
// the run ends: an edge breaks only after the failure that broke it is known.
func (x *exec) recv(edge int) (functions.Item, error) {
	it, err := x.edges[edge].Recv(x.ctx)
	if err != nil && err != io.EOF {
		err = errLeft
	}
	return it, err
}

// pass hands on an item of a step that is not in a call. It returns errLeft if the run ends.
func (x *exec) pass(out *outlet, it functions.Item) error {
	if out.send(x.ctx, it) != nil {
		return errLeft
	}
	return nil
}

// one takes the only item of a unary edge. Its writer sees to it that there is one.
func (x *exec) one(n *node) (functions.Item, error) {
	it, err := x.recv(n.from)
	if err == io.EOF {
		err = fmt.Errorf("%w: no value came from %s", functions.ErrChain, n.step.From)
	}
	return it, err
}

func (x *exec) call(n *node, out *outlet) error {
	it, err := x.one(n)
	if err != nil {
		return err
	}
	return x.invoke(n, it, out)
}

func (x *exec) each(n *node, out *outlet) error {
	for {
		it, err := x.recv(n.from)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := x.invoke(n, it, out); err != nil {
			return err
		}
	}
}

func (x *exec) last(n *node, out *outlet) error {
	var final functions.Item
	for some := false; ; some = true {
		it, err := x.recv(n.from)
		switch {
		case err == io.EOF && !some:
			return fmt.Errorf("%w: the stream %s ended without an item, so it has no last one", functions.ErrChain, n.step.From)
		case err == io.EOF:
			return x.pass(out, final)
		case err != nil:
			return err
		}
		final = it
	}
}

// choose runs a switch: it decides, gives up the edges into the other branches, and passes on what the taken one
// yields.
func (x *exec) choose(n *node, out *outlet) error {
	it, err := x.one(n)
	if err != nil {
		return err
	}
	taken, err := n.route.choose(x.ctx, it, x.input)
	if err != nil {
		return err
	}
	for i, b := range n.cases {
		if i == taken {
			continue
		}
		for _, e := range b.outer {
			x.edges[e].CloseRecv(errUntaken)
		}
	}
	b := n.cases[taken]
	x.wake(b.lazy)
	x.open(b)
	x.start(b)
	for {
		it, err := x.recv(b.out)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := x.pass(out, it); err != nil {
			return err
		}
	}
}

// invoke makes one call of a step.
func (x *exec) invoke(n *node, it functions.Item, out *outlet) error {
	ctx := x.ctx
	if d := n.step.Timeout; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d, fmt.Errorf("%w: the step's timeout of %s", functions.ErrTimeLimit, d))
		defer cancel()
	}
	call := functions.Call{Ref: n.ref, Models: n.models, Chain: x.plan.graph.Spec.Name, Step: n.step.Name, Run: x.r.ID}
	sink := &callSink{x: x, n: n, in: it, out: out}
	start := time.Since(x.begin)
	timing, err := x.enter(ctx, call, it, sink)
	x.record(n, start, timing)
	if err = sink.outcome(err); err != nil && ctx.Err() != nil {
		return context.Cause(ctx) // whatever the call makes of it
	}
	return err
}

// enter calls the invoker and turns its panic into an error: a panic must not end the process and all other runs.
func (x *exec) enter(ctx context.Context, call functions.Call, it functions.Item, sink functions.Sink) (t functions.Timing, err error) {
	defer func() {
		if p := recover(); p != nil {
			x.r.Log.Error("invoker panicked", "chain", call.Chain, "run", call.Run, "step", call.Step, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %s: panic: %v", functions.ErrTrap, call.Ref, p)
		}
	}()
	return x.r.Invoker.Invoke(ctx, call, functions.Items(it), sink)
}

func (x *exec) record(n *node, start time.Duration, t functions.Timing) {
	s := &x.timings[n.index]
	if s.Calls == 0 {
		*s = StepTiming{Step: n.step.Name, Timing: t, Start: start, Calls: 1}
		return
	}
	s.Calls++
	s.Wake += t.Wake
	s.Queue += t.Queue
	s.BytesIn += t.BytesIn
	s.BytesOut += t.BytesOut
	s.Total = start + t.Total - s.Start
}

// fail ends the run with the first failure. If the caller's context has ended already, that is the failure, and step
// is where it was felt.
func (x *exec) fail(step string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed != nil {
		return
	}
	if x.ctx.Err() != nil {
		err = ended(x.ctx)
	}
	x.failed = &functions.StepError{Chain: x.plan.graph.Spec.Name, Step: step, Err: err}
	if far, ok := err.(*functions.StepError); ok && far.Chain == x.failed.Chain && far.Step == step {
		x.failed = far // a node that was told of the step has named it already
	}
	x.cancel(x.failed)
}

// leave notes that a step gave up without a fault of its own.
func (x *exec) leave() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.left = true
}

// ended returns why a context has ended, such that both its error and its cause can be told from it.
func ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, ctx.Err()) {
		return cause
	}
	return fmt.Errorf("%w: %w", ctx.Err(), cause)
}
