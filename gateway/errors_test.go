package gateway

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect"
	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

func TestCode(t *testing.T) {
	for _, test := range []struct {
		err  error
		want connect.Code
	}{
		{functions.ErrInvalid, connect.CodeInvalidArgument},
		{functions.ErrNotFound, connect.CodeNotFound},
		{functions.ErrExists, connect.CodeAlreadyExists},
		{functions.ErrConflict, connect.CodeAborted},
		{functions.ErrDenied, connect.CodePermissionDenied},
		{functions.ErrQueueFull, connect.CodeResourceExhausted},
		{functions.ErrMemoryLimit, connect.CodeResourceExhausted},
		{functions.ErrOutputLimit, connect.CodeResourceExhausted},
		{functions.ErrTimeLimit, connect.CodeDeadlineExceeded},
		{functions.ErrIdleLimit, connect.CodeDeadlineExceeded},
		{functions.ErrInterrupted, connect.CodeCanceled},
		{functions.ErrChain, connect.CodeInternal},
		{functions.ErrColdStart, connect.CodeUnavailable},
		{functions.ErrNoDevice, connect.CodeFailedPrecondition},
		{&functions.Failure{Code: "no_device", Retryable: true}, connect.CodeUnavailable},
		{functions.ErrUnavailable, connect.CodeUnavailable},
		{functions.ErrTrap, connect.CodeInternal},
		{functions.ErrFunction, connect.CodeFailedPrecondition},
		{functions.ErrClosed, connect.CodeUnavailable},
		{context.DeadlineExceeded, connect.CodeDeadlineExceeded},
		{context.Canceled, connect.CodeCanceled},
		{errors.New("something"), connect.CodeInternal},
		{connect.NewError(connect.CodeDataLoss, nil), connect.CodeDataLoss},
	} {
		wrapped := &functions.StepError{Chain: "c", Step: "s", Err: fmt.Errorf("doing it: %w", test.err)}
		if got := Code(wrapped); got != test.want {
			t.Errorf("%v: got %v, want %v", test.err, got, test.want)
		}
		if _, is := errors.AsType[*connect.Error](test.err); is {
			continue
		}
		f := catenaryv1.FailureIn(WireError(wrapped))
		if f.GetChain() != "c" || f.GetStep() != "s" || f.Retryable != functions.Retryable(test.err) {
			t.Errorf("%v: failure %v", test.err, f)
		}
		if back := f.Err(); errors.Is(back, test.err) != (functions.CodeOf(test.err) != functions.CodeInternal) {
			if _, is := test.err.(*functions.Failure); !is {
				t.Errorf("%v: came back as %v", test.err, back)
			}
		}
	}
}
