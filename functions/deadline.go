package functions

import (
	"context"
	"time"
)

// ReportDeadline returns ctx with another deadline to report. It does not end then: it is for the far end of a connection,
// whose near end says why a call ends, and for that needs a moment beyond the call's deadline.
func ReportDeadline(ctx context.Context, at time.Time) context.Context {
	return deadlineContext{ctx, at}
}

type deadlineContext struct {
	context.Context
	at time.Time
}

// Deadline implements context.Context.
func (c deadlineContext) Deadline() (time.Time, bool) { return c.at, true }
