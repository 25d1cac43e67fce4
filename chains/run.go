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
	ID      string
	Invoker functions.Invoker
	// In is the chain's input.
	In functions.Item
	// Out takes the chain's output. Its Send is called by one goroutine; while it blocks, so do the steps.
	Out functions.Sink
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
	Calls int64
}

// Report tells how a run went. Steps that called nothing are left out.
type Report struct {
	Graph functions.Digest
	Steps []StepTiming // in the order of the chain
}

// Run executes the chain and returns when everything that it started has ended. The report counts even when there is
// an error. The first failure ends the run and is its error, a [*functions.StepError]; if the caller's context ends,
// the error wraps its cause and names the step that was running, if one was.
func (p *Plan) Run(ctx context.Context, r Run) (Report, error) {
	if err := p.admit(&r); err != nil {
		return Report{Graph: p.hash}, fmt.Errorf("chain %s: %w", p.graph.Spec.Name, err)
	}
	x := newExec(ctx, p, r)
	err := x.run()
	report := Report{Graph: p.hash}
	for _, t := range x.timings {
		if t.Calls > 0 {
			report.Steps = append(report.Steps, t)
		}
	}
	return report, err
}

// admit checks r and fills in what is left open.
func (p *Plan) admit(r *Run) error {
	switch {
	case r.Invoker == nil || r.Out == nil:
		return fmt.Errorf("%w: a run needs an invoker and a sink", functions.ErrInvalid)
	case len(r.In.Value) == 0:
		return fmt.Errorf("%w: the input has no value", functions.ErrInvalid)
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
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}
