package gpuv1

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/catenary-run/catenary/functions"
)

func TestErrorsCrossTheWire(t *testing.T) {
	sentinels := []error{
		functions.ErrInvalid, functions.ErrNotFound, functions.ErrExists, functions.ErrConflict, functions.ErrDenied,
		functions.ErrQueueFull, functions.ErrMemoryLimit, functions.ErrOutputLimit, functions.ErrTimeLimit,
		functions.ErrColdStart, functions.ErrNoDevice, functions.ErrUnavailable, functions.ErrTrap,
		functions.ErrFunction, functions.ErrClosed, context.Canceled, context.DeadlineExceeded,
	}
	for _, want := range sentinels {
		err := fmt.Errorf("model llm: %w: do this", want)
		got := ErrorOf(StatusOf(err))
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
	tests := []struct {
		name string
		err  error
		want error
	}{
		{"a dead connection", status.Error(codes.Unavailable, "error reading from server: EOF"), ErrBroken},
		{"an unknown method", status.Error(codes.Unimplemented, "unknown method"), ErrBroken},
		{"the caller went away", status.Error(codes.Canceled, "context canceled"), context.Canceled},
		{"too late", status.Error(codes.DeadlineExceeded, "context deadline exceeded"), context.DeadlineExceeded},
		{"a huge request", status.Error(codes.ResourceExhausted, "received message larger than max"), functions.ErrInvalid},
	}
	for _, tt := range tests {
		if got := ErrorOf(tt.err); !errors.Is(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if ErrorOf(nil) != nil || StatusOf(nil) != nil {
		t.Error("nil does not stay nil")
	}
}

func TestStatusOfBoundsTheText(t *testing.T) {
	err := fmt.Errorf("%w: %s\xff", functions.ErrInvalid, strings.Repeat("é", 10_000))
	got := ErrorOf(StatusOf(err))
	if n := len(got.Error()); n > maxMessage+3 {
		t.Errorf("text has %d bytes, want at most %d", n, maxMessage+3)
	}
	if !errors.Is(got, functions.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", got)
	}
}
