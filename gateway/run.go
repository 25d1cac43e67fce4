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
	id    string
	door  string
	chain *chain
	in    functions.Source
	out   func(ctx context.Context, it functions.Item) error
	// bytes is true if the blobs of items come with their bytes, so that nobody has to ask for them.
	bytes bool
	// started is called first, before anything else is told. Where it is nil nobody knows the run, or can interrupt it.
	started func()
	// turnOver and hurry may be nil. Hurry is called when the run fails while out is at work.
	turnOver func(turn uint64)
	hurry    func()
	idle     time.Duration // zero: no limit
	observe  []string
	observed func(step string, it functions.Item)
}

// running is a run that has begun; the door waits for it.
type running struct {
	*chains.Running
	s     *Server
	ctx   context.Context // of the run, as the door gave it
	run   run
	begin time.Time

	began     chan struct{}                                   // closed when interrupt is set, or never will be
	interrupt func(turn, sent uint64) (ended bool, err error) // nil if the run could not begin

	stop  func() bool // what waits for the end of ctx
	ended chan time.Time
}

// start begins r, and holds the blobs that the caller gets as references. The caller has a slot.
func (s *Server) start(ctx context.Context, r run) (*running, error) {
	rn := &running{s: s, ctx: ctx, run: r, begin: time.Now(), began: make(chan struct{}), ended: make(chan time.Time, 1)}
	defer close(rn.began)
	observed := r.observed
	if observed != nil {
		observed = func(step string, it functions.Item) {
			s.hold(it)
			r.observed(step, it)
		}
	}
	if r.started != nil {
		s.streaming.add(rn) // first: an interruption may follow at once
		r.started()
	}
	rn.stop = context.AfterFunc(ctx, func() { rn.ended <- time.Now() })
	var err error
	rn.Running, err = r.chain.Start(ctx, chains.Run{
		ID: r.id, Caller: callerOf(ctx), Invoker: s.deps.Node, In: r.in, MaxItemBytes: s.cfg.MaxItem, Idle: r.idle,
		Out: functions.SinkFunc(func(ctx context.Context, it functions.Item) error {
			if !r.bytes {
				s.hold(it)
			}
			if r.hurry != nil {
				defer context.AfterFunc(ctx, r.hurry)()
			}
			return r.out(ctx, it)
		}),
		TurnOver: func(turn uint64) {
			s.metrics.interrupted.Inc()
			if r.turnOver != nil {
				r.turnOver(turn)
			}
		},
		Observe: r.observe, Observed: observed, Log: s.log, // chains names chain and run itself
	})
	if err != nil {
		rn.stop()
		s.streaming.remove(r.id)
		return nil, err
	}
	rn.interrupt = func(turn, _ uint64) (bool, error) { return rn.Interrupt(turn), nil }
	if q, ok := r.in.(*intake); ok {
		q.interrupt, rn.interrupt = rn.Interrupt, q.interruptTurn
	}
	return rn, nil
}

// wait returns when the run has ended and all that it held is free.
func (rn *running) wait() (chains.Report, error) {
	report, err := rn.Wait()
	rn.s.streaming.remove(rn.run.id)
	if !rn.stop() {
		rn.s.metrics.freed.Observe(time.Since(<-rn.ended).Seconds())
	}
	took := time.Since(rn.begin)
	rn.s.metrics.ran(rn.run.door, took)
	level, attrs := slog.LevelDebug, []slog.Attr{slog.String("chain", rn.run.chain.name()), slog.String("run", rn.run.id), slog.Duration("dur", took)}
	if err != nil {
		level, attrs = slog.LevelInfo, append(attrs, slog.String("err", functions.OneLine(err)))
	}
	rn.s.log.LogAttrs(rn.ctx, level, "run ended", attrs...)
	return report, err
}

// execute runs r to its end.
func (s *Server) execute(ctx context.Context, r run) (chains.Report, error) {
	rn, err := s.start(ctx, r)
	if err != nil {
		return chains.Report{Graph: r.chain.Hash()}, err
	}
	return rn.wait()
}

// hold keeps the blobs of an item for GET /blobs. Every one fits: chains holds items to MaxItem, and ResultBytes is more.
func (s *Server) hold(it functions.Item) {
	now := time.Now()
	for _, a := range it.Blobs {
		s.results.put(a, now)
	}
}

func (c *chain) name() string { return c.Graph().Spec.Name }

// observable returns an error wrapping functions.ErrInvalid unless each of steps is one of c's.
func (c *chain) observable(steps []string) error {
	for _, step := range steps {
		if c.steps[step] == nil {
			return fmt.Errorf("%w: observe: chain %s has no step %q; it has %s", functions.ErrInvalid,
				c.name(), clip(step), strings.Join(slices.Sorted(maps.Keys(c.steps)), ", "))
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
