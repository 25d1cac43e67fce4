package wasm

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/testdata/duplex/contract"
)

// A stream may take any time unless its manifest says otherwise.
func TestLimitCall(t *testing.T) {
	for _, test := range []struct {
		name   string
		stream bool
		limit  time.Duration
		want   bool
	}{
		{"a value", false, 0, true},
		{"a value with a limit", false, time.Hour, true},
		{"a stream", true, 0, false},
		{"a stream with a limit", true, time.Hour, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &functions.Manifest{Name: "f", In: functions.Port{Stream: test.stream}, Limits: functions.Limits{Time: test.limit}}
			_, left, stop := limitCall(t.Context(), m)
			if _, ok := left.Left(); ok != test.want {
				t.Errorf("it has a limit: %v, want %v", ok, test.want)
			}
			stop()
			start, cancel := limitStart(t.Context(), m)
			if _, ok := start.Deadline(); !ok {
				t.Error("its start has no deadline")
			}
			why := errors.New("why")
			cancel(why)
			if err := context.Cause(start); err != why {
				t.Errorf("the start ends with %v, want the cause", err)
			}
		})
	}
}

// The limit of a stream and the end of its caller's patience reach a guest that computes and one that waits.
func TestDuplex_Deadline(t *testing.T) {
	code := loadDuplex(t, func(m *functions.Manifest) { m.Limits.Time = 500 * time.Millisecond })
	for _, do := range []string{contract.Park, contract.Gosched, contract.Deaf} {
		t.Run(do, func(t *testing.T) {
			inst := newInstance(t, code)
			d := begin(t, inst, newDuplexHost(), contract.In{Do: do})
			if err := d.ended(); !errors.Is(err, functions.ErrTimeLimit) {
				t.Errorf("got %v, want functions.ErrTimeLimit", err)
			}
			check(t, inst.Reset(t.Context()))
		})
	}
}
