package coldstart

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/catenary-run/catenary/functions"
)

// TestDrain_RefusesNewCalls while those that are there, queued ones too, are served to their end.
func TestDrain_RefusesNewCalls(t *testing.T) {
	driver := &fake{start: 50 * ms, work: time.Second}
	run(t, driver, func(c *Config) { c.MaxInstances = 1 }, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { n.call(t, ref) })
		}
		synctest.Wait()
		began := time.Now()
		wg.Go(func() {
			if err := n.Drain(context.Background()); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took != 3050*ms {
				t.Errorf("drained after %v, want the end of the last call, 3050ms", took)
			}
		})
		synctest.Wait()
		if _, err := n.try(t.Context(), ref); !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err) {
			t.Errorf("Invoke: got %v, want ErrUnavailable", err)
		}
		if err := n.Wake(t.Context(), []functions.Ref{ref}, nil); !errors.Is(err, functions.ErrUnavailable) {
			t.Errorf("Wake: got %v, want ErrUnavailable", err)
		}
		if _, err := n.Prepare(t.Context(), []functions.Ref{ref}, nil); !errors.Is(err, functions.ErrUnavailable) {
			t.Errorf("Prepare: got %v, want ErrUnavailable", err)
		}
		wg.Wait()
		if err := n.Drain(context.Background()); err != nil {
			t.Errorf("second Drain: %v", err)
		}
	})
}

// TestDrain_CancelsAtItsEnd: calls that take longer are cut, with a reason that can be retried.
func TestDrain_CancelsAtItsEnd(t *testing.T) {
	driver := &fake{work: time.Hour}
	run(t, driver, func(c *Config) { c.MaxInstances = 1 }, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		var wg sync.WaitGroup
		for range 2 { // one serves, one waits
			wg.Go(func() {
				if _, err := n.try(context.Background(), ref); !errors.Is(err, functions.ErrUnavailable) {
					t.Errorf("got %v, want ErrUnavailable", err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := n.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want an error that says that the time was over", err)
		}
		wg.Wait()
	})
}

// TestRun_EndsWithCallsInEveryState: whatever goes on, nothing is left.
func TestRun_EndsWithCallsInEveryState(t *testing.T) {
	driver := &fake{start: 20 * time.Second, work: time.Hour, mortal: true, closing: time.Second}
	run(t, driver, func(c *Config) { c.MaxInstances = 1 }, func(t *testing.T, n *node) {
		var wg sync.WaitGroup
		call := func(ref functions.Ref) {
			wg.Go(func() {
				if _, err := n.try(context.Background(), ref); !errors.Is(err, functions.ErrUnavailable) {
					t.Errorf("got %v, want ErrUnavailable", err)
				}
			})
		}
		serving := n.function("serving", nil)
		call(serving)
		time.Sleep(time.Minute)
		call(serving) // waits for the first
		call(n.function("starting", plugin))
		synctest.Wait()
		wg.Go(func() {
			if err := n.Wake(context.Background(), []functions.Ref{n.function("woken", nil)}, nil); !errors.Is(err, functions.ErrUnavailable) {
				t.Errorf("Wake: got %v, want ErrUnavailable", err)
			}
		})
		synctest.Wait()
		n.cancel()
		wg.Wait()
	})
}

// TestRun_ClosesUnderCallsThatIgnoreTheirContext after a grace.
func TestRun_ClosesUnderCallsThatIgnoreTheirContext(t *testing.T) {
	driver := &fake{}
	driver.onServe = func(_ context.Context, inst *fakeInstance, _ functions.Source, _ functions.Sink, _ functions.Host) error {
		<-inst.closed
		return errors.New("closed under the call")
	}
	run(t, driver, nil, func(t *testing.T, n *node) {
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := n.try(context.Background(), n.function("deaf", nil)); err == nil {
				t.Error("the call came back without an error")
			}
		})
		synctest.Wait()
		began := time.Now()
		n.cancel()
		wg.Wait()
		if took := time.Since(began); took != callGrace {
			t.Errorf("took %v, want the grace of %v", took, callGrace)
		}
	})
}

// TestRun_SaysWhyAllGoes: at the end nothing is idle, and nothing is said to be.
func TestRun_SaysWhyAllGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := &fake{}
		n, stop := start(t, driver, nil)
		n.call(t, n.function("speak", nil))
		n.call(t, n.function("transcribe", plugin))
		if _, err := n.Prepare(t.Context(), []functions.Ref{n.function("parked", nil)}, nil); err != nil {
			t.Fatal(err)
		}
		stop()
		if log := n.log.String(); strings.Count(log, "reason=shutdown") != 3 || strings.Contains(log, "reason=idle") {
			t.Errorf("the log does not say that all three go with the node:\n%s", log)
		}
		if got := testutil.ToFloat64(n.metrics.stops.WithLabelValues("wasm", whyShutdown)); got != 1 {
			t.Errorf("the metrics have %v instances that went so, want 1", got)
		}
	})
}
