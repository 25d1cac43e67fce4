package functions

import (
	"context"
	"time"
)

// Outlast returns the context of a connection that carries the call under ctx. It does not end with ctx, and grace after
// its deadline: first the far end has to hear why the call ends.
func Outlast(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	wire := context.WithoutCancel(ctx)
	if at, ok := ctx.Deadline(); ok {
		return context.WithDeadline(wire, at.Add(grace))
	}
	return context.WithCancel(wire)
}

// Outlasted is Outlast's other half, at the far end of the connection: it returns ctx with the call's own deadline to
// report. It does not end then, since the near end says why.
func Outlasted(ctx context.Context, grace time.Duration) context.Context {
	if at, ok := ctx.Deadline(); ok {
		return deadlineContext{ctx, at.Add(-grace)}
	}
	return ctx
}

// ReportDeadline returns ctx with at as its deadline, if it has no earlier one, to report: it does not end then.
func ReportDeadline(ctx context.Context, at time.Time) context.Context {
	if own, ok := ctx.Deadline(); ok && own.Before(at) {
		return ctx
	}
	return deadlineContext{ctx, at}
}

type deadlineContext struct {
	context.Context
	at time.Time
}

// Deadline implements context.Context.
func (c deadlineContext) Deadline() (time.Time, bool) { return c.at, true }
