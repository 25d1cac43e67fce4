package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// run is one execution that a door asks for.
type run struct {
	id       string
	door     string
	chain    *chain
	in       functions.Item
	out      func(ctx context.Context, it functions.Item) error
	observe  []string
	observed func(step string, it functions.Item)
}

// execute runs r and holds the blobs of all that it yields. The caller has a slot.
func (s *Server) execute(ctx context.Context, r run) (chains.Report, error) {
	name, begin := r.chain.Graph().Spec.Name, time.Now()
	observed := r.observed
	if observed != nil {
		observed = func(step string, it functions.Item) {
			s.hold(it)
			r.observed(step, it)
		}
	}
	report, err := r.chain.Run(ctx, chains.Run{
		ID: r.id, Invoker: s.deps.Node, In: functions.Items(r.in), MaxItemBytes: s.cfg.MaxItem,
		Out: functions.SinkFunc(func(ctx context.Context, it functions.Item) error {
			s.hold(it)
			return r.out(ctx, it)
		}),
		Observe: r.observe, Observed: observed, Log: s.log, // chains names chain and run itself
	})
	took := time.Since(begin)
	s.metrics.ran(r.door, took)
	level, attrs := slog.LevelDebug, []slog.Attr{slog.String("chain", name), slog.String("run", r.id), slog.Duration("dur", took)}
	if err != nil {
		level, attrs = slog.LevelInfo, append(attrs, slog.String("err", functions.OneLine(err)))
	}
	s.log.LogAttrs(ctx, level, "run ended", attrs...)
	return report, err
}

// hold keeps the blobs of an item for GET /blobs. Every one fits: chains holds items to MaxItem, and ResultBytes is more.
func (s *Server) hold(it functions.Item) {
	now := time.Now()
	for _, a := range it.Blobs {
		s.results.put(a, now)
	}
}

// observable returns an error wrapping functions.ErrInvalid unless each of steps is one of c's.
func (c *chain) observable(steps []string) error {
	for _, step := range steps {
		if c.steps[step] == nil {
			return fmt.Errorf("%w: observe: chain %s has no step %q; it has %s", functions.ErrInvalid,
				c.Graph().Spec.Name, clip(step), strings.Join(slices.Sorted(maps.Keys(c.steps)), ", "))
		}
	}
	return nil
}

// timings returns what a report says of each step.
func timings(report chains.Report) []*catenaryv1.Timing {
	out := make([]*catenaryv1.Timing, len(report.Steps))
	for i, st := range report.Steps {
		out[i] = catenaryv1.NewTiming(st.Step, st.Timing)
		out[i].StartNs, out[i].Calls = int64(st.Start), st.Calls
	}
	return out
}
