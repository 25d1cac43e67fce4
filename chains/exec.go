package chains

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
)

var (
	// errUnread is what a writer hears from an edge that nobody reads any more: it leads into a branch that was not
	// taken, or its reader has ended.
	errUnread = errors.New("nobody reads this any more")
	// errInterrupted is how a call ends whose turn is over.
	errInterrupted = errors.New("its turn is over")
	// errLeft is why a step gives up when the fault is not its own: the run ends.
	errLeft = errors.New("the run ends")
	// errRunOver ends what nobody waits for any more.
	errRunOver = errors.New("the run is over")
)

// exec is one run. Each step that is live has one goroutine, and so have the input, the output and what watches over
// them; steps counts them, and run joins them.
type exec struct {
	plan   *Plan
	r      Run
	ctx    context.Context // ends with the caller's, at the first failure, and when the run is over
	cancel context.CancelCauseFunc
	begin  time.Time

	// first is the chain's input if it is one value: set before anything reads it. Input is what CEL sees of it.
	first functions.Item
	input func() (any, error)

	turns  *functions.Turns
	opened chan struct{} // closed when the first item has come
	base   uint64        // the turn of that item, with which the count begins; read it after opened is closed
	caller chan struct{} // holds one while the caller is told of an item or of a turn
	told   uint64        // the first turn that the caller was not told to be over; who is in caller may use it
	passed atomic.Int64  // when an item last came in or went out, in nanoseconds since begin

	// edges are by number. A goroutine is started after the edges that it uses are made.
	edges    []*functions.Stream
	observed map[string]bool

	steps sync.WaitGroup
	rest  sync.WaitGroup // what is not a step: wakes, the input, the watches

	mu      sync.Mutex // guards the fields below, and the making of edges
	failed  error
	whole   bool                   // the output has ended well: what goes on serves nobody
	newest  uint64                 // turn
	calls   map[*stepCall]struct{} // that are under way
	timings []StepTiming           // of those that have ended, by number of the step
	cut     []bool                 // steps with a call that ended when the run was over, by number
}

func newExec(ctx context.Context, p *Plan, r Run) *exec {
	x := &exec{
		plan:     p,
		r:        r,
		begin:    time.Now(),
		turns:    functions.NewTurns(),
		opened:   make(chan struct{}),
		caller:   make(chan struct{}, 1),
		edges:    make([]*functions.Stream, p.edges),
		timings:  make([]StepTiming, len(p.steps)),
		cut:      make([]bool, len(p.steps)),
		observed: map[string]bool{},
		calls:    map[*stepCall]struct{}{},
	}
	x.ctx, x.cancel = context.WithCancelCause(ctx)
	x.input = sync.OnceValues(func() (any, error) {
		v, err := value.Any(p.in.Schema, x.first.Value)
		return present(p.in.Schema, v), err
	})
	for _, step := range r.Observe {
		x.observed[step] = true
	}
	return x
}

// run starts the chain, carries its input and its output, and joins all.
func (x *exec) run() error {
	defer x.cancel(errRunOver)
	x.wake(x.plan.wake)
	x.open(x.plan.top)
	x.rest.Go(x.feed)
	x.rest.Go(x.watchTurns)
	if x.r.Idle > 0 {
		x.rest.Go(x.watchIdle)
	}
	x.start(x.plan.top)
	x.deliver()
	x.steps.Wait()
	x.cancel(errRunOver)
	x.rest.Wait()

	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.whole:
		return nil
	case x.failed != nil:
		return x.failed
	}
	return fmt.Errorf("chain %s: %w", x.plan.graph.Spec.Name, x.endedLocked())
}

// report returns what the steps took, when they have ended.
func (x *exec) report() Report {
	report := Report{Graph: x.plan.hash}
	for _, t := range x.timings {
		if t.Calls > 0 {
			report.Steps = append(report.Steps, t)
		}
	}
	return report
}

// feed carries the chain's input to the steps that read it.
func (x *exec) feed() {
	err := x.takeInput()
	switch {
	case err == errUnread:
		err = nil
	case err != nil:
		if !strings.HasPrefix(err.Error(), "input: ") { // some say so already
			err = fmt.Errorf("input: %w", err)
		}
		x.failWhole(err)
	}
	for _, e := range x.plan.feed {
		x.edges[e].CloseSend(err)
	}
}

func (x *exec) takeInput() error {
	readers := make([]*functions.Stream, len(x.plan.feed))
	for i, e := range x.plan.feed {
		readers[i] = x.edges[e]
	}
	for seq := uint64(0); ; seq++ {
		it, err := x.r.In.Recv(x.ctx)
		switch {
		case err == io.EOF && seq == 0 && !x.plan.in.Stream:
			return fmt.Errorf("%w: no value came", functions.ErrInvalid)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case seq > 0 && !x.plan.in.Stream:
			return fmt.Errorf("%w: the chain takes one value, and a second one came", functions.ErrInvalid)
		case len(it.Value) == 0:
			return fmt.Errorf("%w: item %d has no value", functions.ErrInvalid, seq)
		}
		if err := x.callerTurn(&it, seq == 0); err != nil {
			return err
		}
		it.Seq = seq
		if seq == 0 {
			x.first = it
			close(x.opened)
		}
		x.touch()
		if readers, err = sendAll(x.ctx, readers, it); err != nil {
			return err
		}
	}
}

// sendAll hands it to all readers and returns those that go on reading. It returns errUnread when none does.
func sendAll(ctx context.Context, readers []*functions.Stream, it functions.Item) ([]*functions.Stream, error) {
	for i := 0; i < len(readers); {
		err := readers[i].Send(ctx, it)
		switch {
		case errors.Is(err, errUnread):
			readers = append(readers[:i:i], readers[i+1:]...)
			continue
		case err != nil:
			return readers, err
		}
		i++
	}
	if len(readers) == 0 {
		return nil, errUnread
	}
	return readers, nil
}

// deliver carries the chain's output to the caller.
func (x *exec) deliver() {
	for {
		it, err := x.recv(x.plan.top.out)
		if err == io.EOF {
			x.finish()
			return
		}
		if err != nil {
			return
		}
		if err := x.toCaller(it); err != nil {
			if x.ctx.Err() != nil {
				return
			}
			x.fail(x.plan.graph.Spec.Out, fmt.Errorf("send the chain's output: %w", err))
			return
		}
		x.touch()
	}
}

// toCaller sends one item, unless its turn is over meanwhile.
func (x *exec) toCaller(it functions.Item) error {
	x.caller <- struct{}{}
	defer func() { <-x.caller }()
	x.tellTurns()
	if (x.plan.single || x.plan.drops[x.plan.top.out]) && x.turns.Over(it.Turn) {
		return nil
	}
	return x.r.Out.Send(x.ctx, it)
}

// finish notes that the caller has all, and ends what still goes on.
func (x *exec) finish() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed == nil && x.ctx.Err() == nil {
		x.whole = true
		x.cancel(errRunOver)
	}
}

// touch notes that an item has come in or gone out.
func (x *exec) touch() { x.passed.Store(int64(time.Since(x.begin))) }

// watchIdle fails the run when no item has passed for too long.
func (x *exec) watchIdle() {
	for {
		left := x.r.Idle - (time.Since(x.begin) - time.Duration(x.passed.Load()))
		if left <= 0 {
			x.failWhole(fmt.Errorf("%w: no item came in or went out for %s", functions.ErrIdleLimit, x.r.Idle))
			return
		}
		select {
		case <-time.After(left):
		case <-x.ctx.Done():
			return
		}
	}
}

// open makes the edges that the steps of b write.
func (x *exec) open(b *block) {
	x.mu.Lock()
	defer x.mu.Unlock()
	first, _ := x.turns.First()
	for _, e := range b.edges {
		x.edges[e] = functions.NewStream(x.r.EdgeItems, x.r.EdgeBytes)
		if x.plan.drops[e] {
			x.edges[e].Drop(first)
		}
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
	x.rest.Go(func() {
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
	switch err {
	case nil, errLeft:
	case errUnread, errInterrupted:
		err = nil // nothing is missing where nobody reads, and what was interrupted is not missed
	default:
		x.fail(n.step.Name, err)
	}
	if err == nil {
		x.edges[n.from].CloseRecv(errUnread)
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

// pass hands on an item of a step that is not in a call. It returns errUnread if nobody takes it and errLeft if the
// run ends.
func (x *exec) pass(out *outlet, it functions.Item) error {
	err := out.Send(x.ctx, it)
	if err != nil && err != errUnread {
		return errLeft
	}
	return err
}

// one takes the only item of a unary edge. Its writer sees to it that there is one, unless it was interrupted.
func (x *exec) one(n *node) (functions.Item, error) {
	it, err := x.recv(n.from)
	if err == io.EOF {
		if x.interrupted() {
			return it, errInterrupted
		}
		err = fmt.Errorf("%w: no value came from %s", functions.ErrChain, n.step.From)
	}
	return it, err
}

func (x *exec) call(n *node, out *outlet) error {
	if n.takes {
		return x.invokeStream(n, out)
	}
	it, err := x.one(n)
	if err != nil {
		return err
	}
	return x.invokeOne(n, it, out)
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
		if err := x.invokeOne(n, it, out); err != nil && err != errInterrupted {
			return err
		}
	}
}

func (x *exec) last(n *node, out *outlet) error {
	var final functions.Item
	for some := false; ; some = true {
		it, err := x.recv(n.from)
		switch {
		case err == io.EOF && !some && x.interrupted():
			return errInterrupted
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
			x.edges[e].CloseRecv(errUnread)
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
		if err == nil {
			err = x.pass(out, it)
		}
		if err != nil {
			x.edges[b.out].CloseRecv(errUnread)
			return err
		}
	}
}

// fail ends the run with the first failure. If the caller's context has ended already, that is the failure, and step
// is where it was felt.
func (x *exec) fail(step string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed != nil || x.whole {
		return
	}
	if x.ctx.Err() != nil {
		err = x.endedLocked()
		if timeUp(err) {
			if step = x.slowestLocked(); step == "" {
				x.failWholeLocked(err)
				return
			}
		}
	} else if timeUp(err) {
		err = x.withUseLocked(err)
	}
	failed := &functions.StepError{Chain: x.plan.graph.Spec.Name, Step: step, Err: err}
	if far, ok := err.(*functions.StepError); ok && far.Chain == failed.Chain && far.Step == step {
		failed = far // a node that was told of the step has named it already
	}
	x.failed = failed
	x.cancel(x.failed)
}

// failWhole ends the run with a failure that no step is to blame for.
func (x *exec) failWhole(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed != nil || x.whole || x.ctx.Err() != nil {
		return
	}
	if timeUp(err) {
		err = x.withUseLocked(err)
	}
	x.failWholeLocked(err)
}

func (x *exec) failWholeLocked(err error) {
	x.failed = fmt.Errorf("chain %s: %w", x.plan.graph.Spec.Name, err)
	x.cancel(x.failed)
}

// endedLocked returns why the context has ended, with the use of the time if that was it; mu is held.
func (x *exec) endedLocked() error {
	err := ended(x.ctx)
	if timeUp(err) {
		err = x.withUseLocked(err)
	}
	return err
}

// ended returns why a context has ended, such that both its error and its cause can be told from it.
func ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, ctx.Err()) {
		return cause
	}
	return fmt.Errorf("%w: %w", ctx.Err(), cause)
}
