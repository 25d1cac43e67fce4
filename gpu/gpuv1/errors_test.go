package gpuv1

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/catenary-run/catenary/functions"
)

func TestErrorsCrossTheWire(t *testing.T) {
	sentinels := []error{
		functions.ErrInvalid, functions.ErrNotFound, functions.ErrExists, functions.ErrConflict, functions.ErrDenied,
		functions.ErrQueueFull, functions.ErrMemoryLimit, functions.ErrOutputLimit, functions.ErrTimeLimit,
		functions.ErrColdStart, functions.ErrNoDevice, functions.ErrUnavailable, functions.ErrTrap,
		functions.ErrFunction, functions.ErrClosed, functions.ErrInterrupted, functions.ErrIdleLimit, context.Canceled, context.DeadlineExceeded,
	}
	for _, want := range sentinels {
		err := fmt.Errorf("model llm: %w: do this", want)
		got := ErrorOf(t.Context(), StatusOf(err))
		if !errors.Is(got, want) {
			t.Errorf("%v: got %v after the wire", want, got)
		}
		if got.Error() != err.Error() {
			t.Errorf("%v: text is %q, want %q", want, got, err)
		}
		if functions.Retryable(got) != functions.Retryable(err) {
			t.Errorf("%v: retryable is %v, want %v", want, functions.Retryable(got), functions.Retryable(err))
		}
		if code := status.Code(StatusOf(err)); code == codes.OK || code == codes.Unknown {
			t.Errorf("%v: gRPC code is %v", want, code)
		}
	}
}

func TestErrorOf(t *testing.T) {
	here := t.Context()
	gone, cancel := context.WithCancel(here)
	cancel()
	tests := []struct {
		name string
		ctx  context.Context
		err  error
		want error
	}{
		{"a connection closed under a call", here, status.Error(codes.Canceled, "grpc: the client connection is closing"), ErrBroken},
		{"a deadline that nobody set", here, status.Error(codes.DeadlineExceeded, "context deadline exceeded"), ErrBroken},
		{"a dead connection", here, status.Error(codes.Unavailable, "error reading from server: EOF"), ErrBroken},
		{"an unknown method", here, status.Error(codes.Unimplemented, "unknown method"), ErrBroken},
		{"the caller went away", gone, status.Error(codes.Canceled, "context canceled"), context.Canceled},
		{"too late", gone, status.Error(codes.DeadlineExceeded, "context deadline exceeded"), context.DeadlineExceeded},
		{"a huge request", here, status.Error(codes.ResourceExhausted, "received message larger than max"), functions.ErrInvalid},
	}
	for _, tt := range tests {
		if got := ErrorOf(tt.ctx, tt.err); !errors.Is(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if ErrorOf(t.Context(), nil) != nil || StatusOf(nil) != nil {
		t.Error("nil does not stay nil")
	}
}

// TestErrorOf_DeadlineRingsSooner: what tells of the deadline may be a moment ahead of the context. That is no broken
// connection, for which the worker would be ended, with the calls of all others.
func TestErrorOf_DeadlineRingsSooner(t *testing.T) {
	errMine := errors.New("mine")
	for _, code := range []codes.Code{codes.DeadlineExceeded, codes.Canceled} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), deadlineSlack/2, errMine)
			defer cancel()
			got := ErrorOf(ctx, status.Error(code, "stream terminated by RST_STREAM"))
			if errors.Is(got, ErrBroken) || context.Cause(ctx) != errMine {
				t.Errorf("%v: got %v, and the context ends with %v", code, got, context.Cause(ctx))
			}
		})
		// Long before the deadline it is something else, and nobody waits.
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			if got := ErrorOf(ctx, status.Error(code, "gone")); !errors.Is(got, ErrBroken) || ctx.Err() != nil {
				t.Errorf("%v: got %v, want ErrBroken at once", code, got)
			}
		})
	}
}

func TestStatusOfBoundsTheText(t *testing.T) {
	err := fmt.Errorf("%w: %s\xff", functions.ErrInvalid, strings.Repeat("é", 10_000))
	got := ErrorOf(t.Context(), StatusOf(err))
	if n := len(got.Error()); n > maxMessage+3 {
		t.Errorf("text has %d bytes, want at most %d", n, maxMessage+3)
	}
	if !errors.Is(got, functions.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", got)
	}
}
