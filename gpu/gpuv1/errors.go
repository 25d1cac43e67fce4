package gpuv1

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/catenary-run/catenary/functions"
)

// errorDomain marks the detail that StatusOf writes, so that a status of gRPC's own is not taken for one of ours.
const errorDomain = "catenary"

// maxMessage bounds an error's text on the wire: trailers share one header list of a few KiB.
const maxMessage = 2 << 10

// ErrBroken says that the worker gave no answer of its own: it ended, or the connection to it broke.
var ErrBroken = errors.New("the connection to the worker broke")

// StatusOf returns err as a gRPC status that carries its [functions.Failure]. It returns nil for nil.
func StatusOf(err error) error {
	if err == nil {
		return nil
	}
	f := functions.FailureOf(err)
	text := strings.ToValidUTF8(f.Message, "\uFFFD")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "..."
	}
	info := &errdetails.ErrorInfo{
		Reason:   string(f.Code),
		Domain:   errorDomain,
		Metadata: map[string]string{"retryable": strconv.FormatBool(f.Retryable)},
	}
	st, detailErr := status.New(grpcCode(f.Code), text).WithDetails(info)
	if detailErr != nil {
		return status.Error(grpcCode(f.Code), text) // the detail is plain strings: this does not happen
	}
	return st.Err()
}

// deadlineSlack is how much sooner than ctx the other clocks of its deadline may ring: the worker's, and the one by which
// gRPC tells why a stream was reset.
const deadlineSlack = time.Second

// Settle waits for the end of ctx if err, the status of a call that was made with it, says that its deadline has passed:
// what looks at ctx next finds its cause. It returns at once for any other error.
func Settle(ctx context.Context, err error) {
	at, ok := ctx.Deadline()
	if !ok || time.Until(at) > deadlineSlack {
		return
	}
	switch status.Code(err) {
	case codes.DeadlineExceeded, codes.Canceled:
		<-ctx.Done()
	}
}

// ErrorOf returns the error that StatusOf was given on the other side, for a call that was made with ctx. A status that
// the worker did not write is the context error that it stands for, if ctx has ended; otherwise it wraps [ErrBroken]: a
// connection that is closed when its worker dies cancels the calls on it. It settles first. It returns nil for nil.
func ErrorOf(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	Settle(ctx, err)
	st := status.Convert(err)
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			return &functions.Failure{
				Code:      functions.Code(info.GetReason()),
				Message:   st.Message(),
				Retryable: info.GetMetadata()["retryable"] == "true",
			}
		}
	}
	switch code := st.Code(); {
	case code == codes.Canceled && ctx.Err() != nil:
		return context.Canceled
	case code == codes.DeadlineExceeded && ctx.Err() != nil:
		return context.DeadlineExceeded
	case code == codes.ResourceExhausted: // a message over gRPC's size limit
		return &functions.Failure{Code: functions.CodeOf(functions.ErrInvalid), Message: "request to the model: " + st.Message()}
	}
	return errors.Join(ErrBroken, err)
}

// grpcCode is for tools that only know gRPC; our own side reads the detail.
func grpcCode(c functions.Code) codes.Code {
	switch c {
	case functions.CodeOf(functions.ErrInvalid):
		return codes.InvalidArgument
	case functions.CodeOf(functions.ErrNotFound):
		return codes.NotFound
	case functions.CodeOf(functions.ErrExists):
		return codes.AlreadyExists
	case functions.CodeOf(functions.ErrConflict):
		return codes.Aborted
	case functions.CodeOf(functions.ErrDenied):
		return codes.PermissionDenied
	case functions.CodeOf(functions.ErrQueueFull), functions.CodeOf(functions.ErrMemoryLimit), functions.CodeOf(functions.ErrOutputLimit):
		return codes.ResourceExhausted
	case functions.CodeOf(functions.ErrNoDevice), functions.CodeOf(functions.ErrClosed):
		return codes.FailedPrecondition
	case functions.CodeOf(functions.ErrColdStart), functions.CodeOf(functions.ErrUnavailable):
		return codes.Unavailable
	case functions.CodeOf(context.Canceled), functions.CodeOf(functions.ErrInterrupted):
		return codes.Canceled
	case functions.CodeOf(context.DeadlineExceeded), functions.CodeOf(functions.ErrTimeLimit), functions.CodeOf(functions.ErrIdleLimit):
		return codes.DeadlineExceeded
	}
	return codes.Internal
}
