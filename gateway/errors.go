package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// errDraining is the cause with which runs end that outlast the drain, and the answer to those that come too late.
var errDraining = fmt.Errorf("%w: the server is shutting down; call again", functions.ErrUnavailable)

// retryAfter is what callers of a retryable failure are told to wait: longer than most wakes, shorter than patience.
const retryAfter = time.Second

// Code returns the Connect code of an error. It is the only mapping from errors to codes.
func Code(err error) connect.Code {
	if ce, ok := errors.AsType[*connect.Error](err); ok {
		return ce.Code()
	}
	switch functions.CodeOf(err) {
	case "invalid":
		return connect.CodeInvalidArgument
	case "not_found":
		return connect.CodeNotFound
	case "exists":
		return connect.CodeAlreadyExists
	case "conflict":
		return connect.CodeAborted
	case "denied":
		return connect.CodePermissionDenied
	case "queue_full", "memory_limit", "output_limit":
		return connect.CodeResourceExhausted
	case "time_limit", "idle_limit", "deadline":
		return connect.CodeDeadlineExceeded
	case "no_device":
		if functions.Retryable(err) { // it may free up
			return connect.CodeUnavailable
		}
		return connect.CodeFailedPrecondition
	case "cold_start", "unavailable", "closed":
		return connect.CodeUnavailable
	case "function": // the function itself refused: the same call again is refused again
		return connect.CodeFailedPrecondition
	case "cancelled", "interrupted":
		return connect.CodeCanceled
	default: // a trap too, and a chain at fault: their text is for the caller, the fault is not
		return connect.CodeInternal
	}
}

// WireError returns err as a Connect error that carries its Failure, and a RetryInfo if it is retryable. Its text is
// err's own: it is for peers of the same system. Doors use [Server.publicError].
func WireError(err error) *connect.Error {
	if ce, ok := errors.AsType[*connect.Error](err); ok {
		return ce
	}
	ce := connect.NewError(Code(err), errors.New(functions.OneLine(err)))
	addDetail(ce, catenaryv1.NewFailure(err))
	if functions.Retryable(err) {
		addDetail(ce, &errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	}
	return ce
}

func addDetail(ce *connect.Error, m proto.Message) {
	if d, err := connect.NewErrorDetail(m); err == nil {
		ce.AddDetail(d)
	}
}

// public returns err as a caller may see it. What no sentinel names stays in the log: the caller gets an id to quote.
func (s *Server) public(ctx context.Context, err error) error {
	// A write or a read that broke because the drain ended the run says less than the cause does.
	if cause := context.Cause(ctx); cause != nil && functions.CodeOf(cause) == "unavailable" {
		if code := Code(err); code == connect.CodeCanceled || code == connect.CodeDeadlineExceeded {
			err = cause
		}
	}
	if _, ok := errors.AsType[*connect.Error](err); ok {
		return err
	}
	if functions.CodeOf(err) != functions.CodeInternal {
		return err
	}
	id := newID()
	s.log.LogAttrs(ctx, slog.LevelError, "internal error", slog.String("id", id), slog.String("err", err.Error()))
	f := functions.FailureOf(err)
	f.Message = "internal error, id " + id + ": the server's log has the cause"
	if f.Step != "" {
		f.Message = fmt.Sprintf("chain %s, step %s: %s", f.Chain, f.Step, f.Message)
	}
	return f
}

// publicError returns err as a Connect error that a caller may see.
func (s *Server) publicError(ctx context.Context, err error) *connect.Error {
	return WireError(s.public(ctx, err))
}

// newID returns 16 random hex digits: the id of a run or of an internal error.
func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand
	return hex.EncodeToString(b[:])
}
