package sandbox

import (
	"context"
	"errors"

	"github.com/catenary-run/catenary/functions"
)

// Driver runs functions of the kinds that it names. It may be used from many goroutines.
type Driver interface {
	// Kinds returns the kinds of function that the driver runs.
	Kinds() []functions.Kind
	// Prepare does what can be done once for a version: checks, compiles, boots, captures. Artifact is a local file
	// with the bytes that the manifest names. What an earlier Prepare left on this node is used again. It returns
	// an error wrapping functions.ErrInvalid for an artifact that can never run, functions.ErrColdStart for a start
	// that failed.
	Prepare(ctx context.Context, m *functions.Manifest, artifact string) (*Image, error)
	// Load makes an image runnable in this process.
	Load(ctx context.Context, img *Image) (Code, error)
}

// Image is what Prepare leaves of a version on this node.
type Image struct {
	Manifest *functions.Manifest
	Version  functions.Digest
	Artifact string // the artifact's file
	Dir      string // the driver's files of this version; empty if it has none
	// Captured is true if instances come from a snapshot of a started one. Otherwise each starts anew, and Why says
	// why in words for people.
	Captured bool
	Why      string
}

// Code is an image ready to run in this process: compiled code and the snapshot, mapped. It may be used from many
// goroutines.
type Code interface {
	// New starts an instance, ready to serve.
	New(ctx context.Context) (Instance, error)
	// MemBytes is what the code holds in memory with no instance at all.
	MemBytes() int64
	// Close frees it. All instances must be closed.
	Close() error
}

// ErrSpent is wrapped by the error of Reset for an instance that can't serve another call.
var ErrSpent = errors.New("instance is spent")

// Instance is one live sandbox. It serves one call at a time, with a Reset between two; only Close may be called while
// Serve or Reset runs.
type Instance interface {
	// ID names the instance in logs and errors.
	ID() string
	// Serve runs one call: it reads in, sends to out, and returns when the function has ended. It always returns soon
	// after ctx ends, with the cause of ctx. A function's own failure wraps functions.ErrFunction, a crash
	// functions.ErrTrap, a limit of the manifest functions.ErrMemoryLimit, ErrTimeLimit or ErrOutputLimit. It closes
	// neither in nor out.
	Serve(ctx context.Context, in functions.Source, out functions.Sink, host functions.Host) error
	// Reset makes the instance fit for the next call, which must find nothing of the last one that the driver can
	// take away. One that was made from an image is as a fresh one then, but its clocks never run backwards. It returns
	// an error wrapping ErrSpent, with the reason, if it can't: then the instance has to be closed.
	Reset(ctx context.Context) error
	// MemBytes is what the instance holds in memory by itself, between its calls.
	MemBytes() int64
	// Done is closed when the instance has ended without Close: a process that was killed. It is nil for an
	// instance that can't end so.
	Done() <-chan struct{}
	// Close ends the instance and frees all that it holds. Serve, if it runs, returns. Further calls do nothing.
	Close() error
}

// CauseOf returns why the call with this context ends, as its function may know it: what has no code is the business of
// who runs the server.
func CauseOf(ctx context.Context) functions.Failure {
	f := functions.FailureOf(context.Cause(ctx))
	if f.Code == functions.CodeInternal {
		return functions.Failure{Code: functions.CodeOf(context.Canceled), Message: "the call was ended"}
	}
	return functions.Failure{Code: f.Code, Message: functions.OneLine(f)}
}
