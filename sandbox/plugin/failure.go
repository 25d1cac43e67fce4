package plugin

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/catenary-run/catenary/functions"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// deathGrace is how long the kernel may take to tell of a death when a connection has broken.
const deathGrace = 5 * time.Second

// deadlineSlack is how much sooner than ours the plugin's clock of a deadline may ring.
const deadlineSlack = time.Second

// startError says why a start failed. Ctx is the caller's; ready ends with the start's own time limit.
func (d *Driver) startError(ctx, ready context.Context, i *instance, m *functions.Manifest, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch {
	case ready.Err() != nil:
		err = context.Cause(ready)
	case i.launch != nil && i.launch.proc != nil:
		select {
		case <-i.launch.proc.done:
			// If it did not end by itself, then because go-plugin killed it: err tells why.
			if text, signal := i.launch.proc.exit(); signal != syscall.SIGKILL {
				err = fmt.Errorf("it ended at its start: %s", text)
			}
		case <-time.After(deathGrace):
		}
	}
	// The cause is text only: whatever it is, to the caller this is a start that failed.
	return fmt.Errorf("%w: plugin %s: %v%s", functions.ErrColdStart, m.Name, err, i.lastLines())
}

// failure says why a call ended with a status. Call is the call's own context.
func (i *instance) failure(call context.Context, err error) error {
	st := status.Convert(err)
	if at, ok := call.Deadline(); ok {
		// Both sides watch the deadline; the other one may be a moment sooner.
		if left := time.Until(at); left <= 0 || left < deadlineSlack && st.Code() == codes.DeadlineExceeded {
			<-call.Done()
		}
	}
	switch st.Code() {
	case codes.Unavailable, codes.Canceled:
		select {
		case <-call.Done():
		case <-i.proc.done:
		case <-time.After(deathGrace):
		}
	}
	if call.Err() != nil {
		return context.Cause(call)
	}
	select {
	case <-i.proc.done:
		return i.death()
	default:
	}
	switch st.Code() {
	case codes.InvalidArgument:
		return fmt.Errorf("%w: %s", functions.ErrInvalid, said(functions.ErrInvalid, st))
	case codes.PermissionDenied:
		return fmt.Errorf("%w: %s", functions.ErrDenied, said(functions.ErrDenied, st))
	case codes.Aborted:
		return fmt.Errorf("%w: %s", functions.ErrInterrupted, said(functions.ErrInterrupted, st))
	case codes.ResourceExhausted:
		return fmt.Errorf("%w: one item of the output is larger than %d bytes: %s", functions.ErrOutputLimit, i.limits.OutBytes, st.Message())
	case codes.Internal:
		i.spent.Store(true)
		return fmt.Errorf("%w: %s", functions.ErrTrap, st.Message())
	case codes.Unavailable, codes.Canceled, codes.Unimplemented:
		i.spent.Store(true)
		return fmt.Errorf("%w: the plugin broke the protocol: %s: %s", functions.ErrTrap, st.Code(), st.Message())
	}
	return fmt.Errorf("%w: %s", functions.ErrFunction, st.Message())
}

// said returns a status's message without the sentinel's own text before it, since the error has that already.
func said(sentinel error, st *status.Status) string {
	return strings.TrimPrefix(st.Message(), sentinel.Error()+": ")
}

// death says how the process ended during a call. One that was killed from outside says nothing of the function, so
// the call may be made again; one that ended by itself would do so again.
func (i *instance) death() error {
	i.spent.Store(true)
	text, signal := i.proc.exit()
	sentinel := functions.ErrTrap
	switch {
	case i.isClosed():
		return i.closedError()
	case i.overMemory.Load(), outOfMemory(i.proc.logs.last()):
		return fmt.Errorf("%w: the plugin, with the processes that it started, used more than %d bytes: %s%s", functions.ErrMemoryLimit, i.limits.MemBytes, text, i.lastLines())
	case signal == syscall.SIGKILL || signal == syscall.SIGTERM || signal == syscall.SIGINT || signal == syscall.SIGHUP:
		sentinel = functions.ErrUnavailable
	}
	return fmt.Errorf("%w: the plugin's process ended during the call: %s%s", sentinel, text, i.lastLines())
}

// outOfMemory reports whether the last lines of a process are those of a runtime that got no memory: Go's, C++'s,
// Python's, Rust's, a C library's.
func outOfMemory(lines []string) bool {
	for _, l := range lines {
		for _, words := range []string{
			"out of memory", "cannot allocate memory", "Cannot allocate memory", "std::bad_alloc", "MemoryError", "memory allocation of ",
		} {
			if strings.Contains(l, words) {
				return true
			}
		}
	}
	return false
}
