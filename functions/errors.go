package functions

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// What a caller can do wrong.
var (
	ErrInvalid  = errors.New("invalid")
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
	ErrConflict = errors.New("changed by another writer") // a compare-and-swap that lost
	ErrDenied   = errors.New("not allowed")               // use of what a manifest does not declare
)

// What can be short.
var (
	ErrQueueFull   = errors.New("queue is full")
	ErrMemoryLimit = errors.New("memory limit reached")
	ErrOutputLimit = errors.New("output limit reached")
	ErrTimeLimit   = errors.New("time limit reached") // a function's own limit; a call's deadline is context.DeadlineExceeded
	ErrIdleLimit   = errors.New("idle limit reached") // no item for too long
)

// What can go wrong while a function starts or runs.
var (
	ErrColdStart   = errors.New("start failed")               // retryable
	ErrNoDevice    = errors.New("no device")                  // no engine library, no GPU
	ErrUnavailable = errors.New("temporarily gone")           // retryable: a worker or an instance died under the call
	ErrTrap        = errors.New("function crashed")           // a trap, a panic, a plugin's exit
	ErrFunction    = errors.New("function returned an error") // the function itself said that it can't
	ErrChain       = errors.New("can't be computed")          // by the chain itself, over this value: a route, the last item of nothing
	ErrClosed      = errors.New("closed")
	ErrInterrupted = errors.New("turn interrupted") // of one turn's work; the run goes on
)

// Code is an error's class on a wire.
type Code string

// codes pairs every code with its sentinel. The order matters: the first match wins.
var codes = []struct {
	code      Code
	err       error
	retryable bool
}{
	{"invalid", ErrInvalid, false},
	{"not_found", ErrNotFound, false},
	{"exists", ErrExists, false},
	{"conflict", ErrConflict, true},
	{"denied", ErrDenied, false},
	{"queue_full", ErrQueueFull, true},
	{"memory_limit", ErrMemoryLimit, false},
	{"output_limit", ErrOutputLimit, false},
	{"time_limit", ErrTimeLimit, false},
	{"idle_limit", ErrIdleLimit, false},
	{"no_device", ErrNoDevice, false},
	{"cold_start", ErrColdStart, true},
	{"unavailable", ErrUnavailable, true},
	{"trap", ErrTrap, false},
	{"function", ErrFunction, false},
	{"chain", ErrChain, false},
	{"closed", ErrClosed, false},
	{"interrupted", ErrInterrupted, false},
	{"deadline", context.DeadlineExceeded, false},
	{"cancelled", context.Canceled, false},
}

// CodeInternal is the code of an error that no sentinel names.
const CodeInternal Code = "internal"

// CodeOf returns the class of err: that of the [Failure] it wraps, or that of the first sentinel it wraps.
func CodeOf(err error) Code {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Code
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return CodeInternal
}

// Retryable reports whether the same call may succeed if it is made again.
func Retryable(err error) bool {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Retryable
	}
	code := CodeOf(err)
	for _, c := range codes {
		if c.code == code {
			return c.retryable
		}
	}
	return false
}

// StepError says which step of which chain failed. A run ends with exactly one.
type StepError struct {
	Chain string
	Step  string
	Err   error
}

func (e *StepError) Error() string {
	return fmt.Sprintf("chain %s, step %s: %v", e.Chain, e.Step, e.Err)
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// InvokeError says which instance of which function failed.
type InvokeError struct {
	Func     string
	Version  Digest
	Instance string // empty if none had been started
	Err      error
}

func (e *InvokeError) Error() string {
	if e.Instance == "" {
		return fmt.Sprintf("function %s: %v", e.Func, e.Err)
	}
	return fmt.Sprintf("function %s (instance %s): %v", e.Func, e.Instance, e.Err)
}

// Unwrap returns the cause.
func (e *InvokeError) Unwrap() error { return e.Err }

// Failure is an error as it crosses a wire. It unwraps to the sentinel of its code, so that errors.Is answers the same
// on both sides.
type Failure struct {
	Code      Code   `json:"code"`
	Message   string `json:"message"` // one sentence: what, where, and what to do next
	Chain     string `json:"chain,omitempty"`
	Step      string `json:"step,omitempty"`
	Retryable bool   `json:"retryable,omitempty"`
}

// FailureOf returns err in its wire form. It returns nil for nil.
func FailureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	f := &Failure{Code: CodeOf(err), Message: err.Error(), Retryable: Retryable(err)}
	if inner, ok := errors.AsType[*Failure](err); ok {
		f.Chain, f.Step = inner.Chain, inner.Step
	}
	if step, ok := errors.AsType[*StepError](err); ok {
		f.Chain, f.Step = step.Chain, step.Step
	}
	return f
}

func (f *Failure) Error() string { return f.Message }

// Unwrap returns the sentinel that belongs to the code, or nil for an internal error.
func (f *Failure) Unwrap() error {
	for _, c := range codes {
		if c.code == f.Code {
			return c.err
		}
	}
	return nil
}

// OneLine returns err's text with its line breaks folded, for a log line or a header.
func OneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// MissingBlob returns err of a blob that what is deployed needs. That it is not there, or was damaged, is a start that
// fails, and no fault of who calls; to call again does not help.
func MissingBlob(what string, err error) error {
	if !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%s: %w", what, err)
	}
	text := fmt.Sprintf("%v: %s: %v", ErrColdStart, what, err)
	if !strings.Contains(text, "deploy again") {
		text += "; deploy again"
	}
	return &Failure{Code: CodeOf(ErrColdStart), Message: text}
}
