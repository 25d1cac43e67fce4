package functions_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/google/go-cmp/cmp"
)

func TestCodes_AnswerTheSameOnBothSidesOfAWire(t *testing.T) {
	for _, tc := range []struct {
		err       error
		code      functions.Code
		retryable bool
	}{
		{functions.ErrInvalid, "invalid", false},
		{functions.ErrNotFound, "not_found", false},
		{functions.ErrExists, "exists", false},
		{functions.ErrConflict, "conflict", true},
		{functions.ErrDenied, "denied", false},
		{functions.ErrQueueFull, "queue_full", true},
		{functions.ErrMemoryLimit, "memory_limit", false},
		{functions.ErrOutputLimit, "output_limit", false},
		{functions.ErrTimeLimit, "time_limit", false},
		{functions.ErrNoDevice, "no_device", false},
		{functions.ErrColdStart, "cold_start", true},
		{functions.ErrUnavailable, "unavailable", true},
		{functions.ErrTrap, "trap", false},
		{functions.ErrFunction, "function", false},
		{functions.ErrChain, "chain", false},
		{functions.ErrClosed, "closed", false},
		{context.DeadlineExceeded, "deadline", false},
		{context.Canceled, "cancelled", false},
		{errors.New("something else"), functions.CodeInternal, false},
	} {
		t.Run(string(tc.code), func(t *testing.T) {
			err := &functions.StepError{Chain: "voice", Step: "speak", Err: &functions.InvokeError{Func: "tts", Err: fmt.Errorf("text: %w", tc.err)}}
			if code := functions.CodeOf(err); code != tc.code {
				t.Errorf("CodeOf: got %s, want %s", code, tc.code)
			}
			if got := functions.Retryable(err); got != tc.retryable {
				t.Errorf("Retryable: got %v, want %v", got, tc.retryable)
			}
			b, jsonErr := json.Marshal(functions.FailureOf(err))
			if jsonErr != nil {
				t.Fatal(jsonErr)
			}
			var over functions.Failure
			if jsonErr := json.Unmarshal(b, &over); jsonErr != nil {
				t.Fatal(jsonErr)
			}
			want := functions.Failure{Code: tc.code, Message: err.Error(), Chain: "voice", Step: "speak", Retryable: tc.retryable}
			if diff := cmp.Diff(over, want); diff != "" {
				t.Errorf("got- want+\n%s", diff)
			}
			received := fmt.Errorf("gateway: %w", &over)
			if functions.CodeOf(received) != tc.code || functions.Retryable(received) != tc.retryable {
				t.Errorf("received: code %s, retryable %v", functions.CodeOf(received), functions.Retryable(received))
			}
			if tc.code != functions.CodeInternal && !errors.Is(received, tc.err) {
				t.Errorf("received: %v is not %v", received, tc.err)
			}
			if again := functions.FailureOf(received); again.Code != tc.code || again.Step != "speak" || again.Chain != "voice" || again.Message != received.Error() {
				t.Errorf("passed on: got %+v", again)
			}
		})
	}
}

func TestFailureOf_Nil(t *testing.T) {
	if f := functions.FailureOf(nil); f != nil {
		t.Errorf("got %v", f)
	}
}

func TestErrors_SayWhere(t *testing.T) {
	for want, err := range map[string]error{
		"function f: queue is full":                  &functions.InvokeError{Func: "f", Err: functions.ErrQueueFull},
		"function f (instance i1): function crashed": &functions.InvokeError{Func: "f", Instance: "i1", Err: functions.ErrTrap},
		"chain c, step s: closed":                    &functions.StepError{Chain: "c", Step: "s", Err: functions.ErrClosed},
	} {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
	if got := functions.OneLine(errors.New("a\n\tb\r\n c")); got != "a b c" {
		t.Errorf("OneLine: got %q", got)
	}
}
