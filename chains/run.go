package chains

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// Run is one execution of a plan.
type Run struct {
	// ID names the run in calls and logs.
	ID string
	// Caller names on whose behalf the chain runs, see functions.Call; empty for nobody's.
	Caller  string
	Invoker functions.Invoker
	// In is the chain's input: a source of exactly one item, or of any number if the input is a stream. Its Recv is
	// called by one goroutine, and no further ahead than the steps take.
	In functions.Source
	// Out takes the chain's output. Its Send is called by one goroutine at a time; while it blocks, so do the steps.
	Out functions.Sink
	// TurnOver is told of each turn that is over, once, in order and never beside Out's Send: after it no item of that
	// turn comes. Nil drops it.
	TurnOver func(turn uint64)
	// Idle ends a run in which no item has come in or gone out for so long; zero never does.
	Idle time.Duration
	// Observe names steps whose items Observed gets too: in order for each step, from several goroutines for several
	// steps. A step waits while Observed has its item.
	Observe  []string
	Observed func(step string, it functions.Item)
	// EdgeItems and EdgeBytes bound each edge; zero takes the defaults of functions.
	EdgeItems int
	EdgeBytes int64
	// MaxItemBytes bounds one item with its blobs; zero takes functions.DefaultLimits.OutBytes.
	MaxItemBytes int64
	// Log gets what is no failure of the run, such as a wake that went wrong, and the stack of an invoker that
	// panicked; nil drops it.
	Log *slog.Logger
}

// StepTiming is what the calls of one step took. Over several calls, Wake, Queue and the bytes are sums; FirstItem and
// Total count from the first call, so Total holds the waits between the calls too.
type StepTiming struct {
	Step string
	functions.Timing
	Start time.Duration // from the beginning of the run to the step's first call
	// Busy is how long calls were under way, without the time in which they waited for an item to take or for room for
	// one that they had made.
	Busy  time.Duration
	Calls int64
}

// Report tells how a run went. Steps that called nothing are left out.
type Report struct {
	Graph functions.Digest
	Steps []StepTiming // in the order of the chain
}

// Running is a run that has begun. It may be used from many goroutines.
type Running struct {
	x    *exec
	done chan struct{}
	err  error // set before done is closed
}

// Start begins a run. Its goroutines end before [Running.Wait] returns; the caller has to wait. It returns an error, and
// starts nothing, if r is not fit to run.
func (p *Plan) Start(ctx context.Context, r Run) (*Running, error) {
	if err := p.admit(&r); err != nil {
		return nil, fmt.Errorf("chain %s: %w", p.graph.Spec.Name, err)
	}
	run := &Running{x: newExec(ctx, p, r), done: make(chan struct{})}
	go func() { // joined by Wait
		defer close(run.done)
		run.err = run.x.run()
	}()
	return run, nil
}

// Interrupt makes turn and all before it over: their items are dropped on every edge after the step that opens turns,
// calls that work on one of them are cancelled, and the run goes on with what comes. Of turns that have not begun the newest
// that has is taken. It reports whether that is news. In a chain whose input is one value, the one turn is all of the run.
func (r *Running) Interrupt(turn uint64) bool { return r.x.interrupt(turn) }

// Wait returns when everything that the run has started has ended. The report counts even when there is an error. The
// first failure ends the run and is its error: a [*functions.StepError], or, if the input broke off, its reason. If the
// caller's context ends, the error wraps its cause, and names the step that was running, if one was. What ended since the
// time was up says which step has used how much of it.
func (r *Running) Wait() (Report, error) {
	<-r.done
	return r.x.report(), r.err
}

// Run executes the chain: it is [Plan.Start] and [Running.Wait].
func (p *Plan) Run(ctx context.Context, r Run) (Report, error) {
	run, err := p.Start(ctx, r)
	if err != nil {
		return Report{Graph: p.hash}, err
	}
	return run.Wait()
}

// admit checks r and fills in what is left open.
func (p *Plan) admit(r *Run) error {
	switch {
	case r.Invoker == nil || r.In == nil || r.Out == nil:
		return fmt.Errorf("%w: a run needs an invoker, a source and a sink", functions.ErrInvalid)
	case len(r.Observe) > 0 && r.Observed == nil:
		return fmt.Errorf("%w: steps to observe, and nobody who observes", functions.ErrInvalid)
	}
	names := p.Steps()
	for _, step := range r.Observe {
		if !slices.Contains(names, step) {
			return fmt.Errorf("%w: observe: there is no step %q%s; the steps are %s",
				functions.ErrInvalid, step, didYouMean(step, slices.Clone(names)), strings.Join(names, ", "))
		}
	}
	if r.MaxItemBytes <= 0 {
		r.MaxItemBytes = functions.DefaultLimits.OutBytes
	}
	if r.TurnOver == nil {
		r.TurnOver = func(uint64) {}
	}
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}
