package functions_test

import (
	"context"
	"errors"
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
