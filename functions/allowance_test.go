package functions_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catenary-run/catenary/functions"
)

func TestAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("it took too long")
		ctx, left, stop := functions.WithAllowance(t.Context(), time.Second, cause)
		defer stop()
		wait := func(d time.Duration) functions.Sink {
			return left.Sink(functions.SinkFunc(func(context.Context, functions.Item) error {
				time.Sleep(d)
				return nil
			}))
		}
		has := func(want time.Duration) {
			t.Helper()
			if got, ok := left.Left(); !ok || got != want {
				t.Errorf("%v is left, %v; want %v", got, ok, want)
			}
		}
		time.Sleep(400 * time.Millisecond)
		has(600 * time.Millisecond)
		if err := wait(time.Hour).Send(ctx, functions.Item{}); err != nil { // the limit stands still
			t.Error(err)
		}
		has(600 * time.Millisecond)
		// Of two that wait at the same time, the one that ends first does not let it run.
		var both sync.WaitGroup
		for _, d := range []time.Duration{time.Minute, time.Hour} {
			both.Go(func() {
				if err := wait(d).Send(ctx, functions.Item{}); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		has(600 * time.Millisecond)
		if ctx.Err() != nil {
			t.Errorf("ended while it stood still: %v", context.Cause(ctx))
		}
		time.Sleep(599 * time.Millisecond)
		synctest.Wait()
		if ctx.Err() != nil {
			t.Errorf("ended early: %v", context.Cause(ctx))
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if context.Cause(ctx) != cause {
			t.Errorf("got %v, want the cause", context.Cause(ctx))
		}
		has(0)
	})
	var none *functions.Allowance
	if _, limited := none.Left(); limited {
		t.Error("nil is a limit")
	}
}

// TestTimeLeft: of the deadline and of all limits, whoever keeps them, it is the least.
func TestTimeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if left, limited := functions.TimeLeft(t.Context()); limited {
			t.Errorf("%v is left, and nothing limits it", left)
		}
		deadline, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		step, _, stopStep := functions.WithAllowance(deadline, 3*time.Second, errors.New("the step's"))
		defer stopStep()
		own, allowance, stopOwn := functions.WithAllowance(step, 5*time.Second, errors.New("the function's"))
		defer stopOwn()
		for what, tt := range map[string]struct {
			ctx  context.Context
			want time.Duration
		}{
			"the deadline":        {deadline, 4 * time.Second},
			"an outer limit":      {own, 3 * time.Second},
			"one of somebody":     {functions.WithTimeLeft(own, 2*time.Second), 2 * time.Second},
			"a later of somebody": {functions.WithTimeLeft(own, time.Minute), 3 * time.Second},
		} {
			if left, limited := functions.TimeLeft(tt.ctx); !limited || left != tt.want {
				t.Errorf("%s: %v is left, %v; want %v", what, left, limited, tt.want)
			}
		}
		slow := functions.SinkFunc(func(context.Context, functions.Item) error { time.Sleep(time.Second); return nil })
		if err := allowance.Sink(slow).Send(own, functions.Item{}); err != nil { // its own limit stands still, and no other
			t.Error(err)
		}
		if left, _ := functions.TimeLeft(own); left != 2*time.Second {
			t.Errorf("%v is left behind a slow reader, want 2s", left)
		}
	})
}
