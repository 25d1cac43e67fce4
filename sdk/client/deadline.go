package client

import (
	"context"
	"errors"
	"strconv"
	"time"

	"connectrpc.com/connect"
)

// endGrace is how long a run whose time is up waits for what the server says of it, which names the step that has used
// the time: some more than a far server's answer takes, and too little to matter to who has waited for all that time.
const endGrace = 500 * time.Millisecond

// deadlineKey is the key of a run's deadline in a context that does not end with it.
type deadlineKey struct{}

// outlive returns a context for a run within parent: the server gets parent's deadline, and the run ends here only
// endGrace after it. It ends at once if parent ends otherwise. Stop has to be called when the run has ended; it waits for
// what watches parent.
func outlive(parent context.Context) (ctx context.Context, cancel context.CancelCauseFunc, stop func()) {
	ctx = context.WithoutCancel(parent)
	if at, ok := parent.Deadline(); ok {
		ctx = context.WithValue(ctx, deadlineKey{}, at)
	}
	ctx, cancel = context.WithCancelCause(ctx)
	done := make(chan struct{})
	unwatch := context.AfterFunc(parent, func() {
		defer close(done)
		if errors.Is(parent.Err(), context.DeadlineExceeded) {
			grace := time.NewTimer(endGrace)
			defer grace.Stop()
			select {
			case <-grace.C:
			case <-ctx.Done():
			}
		}
		cancel(context.Cause(parent))
	})
	return ctx, cancel, func() {
		cancel(nil)
		if !unwatch() {
			<-done
		}
	}
}

// tellDeadline is an interceptor that tells the server the deadline of a run as Connect tells that of a context.
type tellDeadline struct{}

// WrapStreamingClient implements connect.Interceptor.
func (tellDeadline) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		if at, ok := ctx.Value(deadlineKey{}).(time.Time); ok {
			conn.RequestHeader().Set("Connect-Timeout-Ms", strconv.FormatInt(min(max(0, time.Until(at).Milliseconds()), maxTimeoutMs), 10))
		}
		return conn
	}
}

// maxTimeoutMs is the most that Connect's header holds: ten digits.
const maxTimeoutMs = 9_999_999_999

// WrapUnary implements connect.Interceptor.
func (tellDeadline) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc { return next }

// WrapStreamingHandler implements connect.Interceptor.
func (tellDeadline) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
