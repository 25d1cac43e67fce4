package gpu

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/catenary-run/catenary/functions"
)

// from is a request of a caller.
func from(caller string, p functions.Priority) functions.Generation {
	req := ask("x")
	req.Caller, req.Priority = caller, p
	return req
}

// asks has ann ask n times, with pauses, and returns how long each answer took from the question to its end.
func asks(t *testing.T, r *Runtime, llm functions.Ref, n int) (took []time.Duration) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, uint64(n)))
	for range n {
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		began := time.Now()
		if _, _, err := answerOf(t.Context(), r, llm, from("ann", "")); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	return took
}

// flood asks with forty calls at a time, again and again, until the returned func is called.
func flood(t *testing.T, r *Runtime, llm functions.Ref) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _, err := answerOf(ctx, r, llm, from("flood", ""))
				if err != nil && !errors.Is(err, functions.ErrQueueFull) && ctx.Err() == nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// TestFloodOfOneCaller: beside a caller who keeps the queue full, another one waits for each answer at most twice as
// long as alone.
func TestFloodOfOneCaller(t *testing.T) {
	for _, slots := range []int32{1, 4} {
		t.Run(fmt.Sprint(slots, " slots"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				models := catalogue{}
				llm := models.add("llm", "x")
				f := &fake{slots: slots, tokens: 10, tokenTime: 10 * time.Millisecond}
				r, stop := startFake(t, f, models, func(c *Config) { c.QueueDepth = 16 })
				defer stop()
				alone := slices.Max(asks(t, r, llm, 50))
				end := flood(t, r, llm)
				time.Sleep(time.Second)
				if s := statusOf(t, r, llm); s.Queued != 16 {
					t.Errorf("%d calls wait, and the flood shall fill the queue", s.Queued)
				}
				before := f.generates.Load()
				beside := slices.Max(asks(t, r, llm, 50))
				if beside > 2*alone {
					t.Errorf("an answer takes %v beside the flood, %v alone", beside, alone)
				}
				if n := f.generates.Load() - before; n < 60 {
					t.Errorf("%d calls were served meanwhile: the flood has nothing", n)
				}
				end()
			})
		})
	}
}

// TestDeadlineThatCantBeMet: a call that can't be answered in time is refused at once and told how long it would have
// waited; one that can is served.
func TestDeadlineThatCantBeMet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		r, stop := startFake(t, &fake{tokens: 10, tokenTime: 100 * time.Millisecond}, models, nil)
		defer stop()
		if _, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil { // measured: a second
			t.Fatal(err)
		}
		var others sync.WaitGroup
		for range 3 {
			others.Go(func() {
				if _, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		within := func(d time.Duration) (time.Duration, error) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			began := time.Now()
			_, _, err := answerOf(ctx, r, llm, ask("x"))
			return time.Since(began), err
		}
		took, err := within(3900 * time.Millisecond)
		if !errors.Is(err, functions.ErrQueueFull) || !functions.Retryable(err) || took != 0 {
			t.Errorf("got %v after %v, want ErrQueueFull at once", err, took)
		}
		if want := "the wait is predicted to be 3s and the answer to take 1s, and the call has 3.9s left"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
		step, _, stopLimit := functions.WithAllowance(t.Context(), 3900*time.Millisecond, functions.ErrTimeLimit)
		if _, _, err := answerOf(step, r, llm, ask("x")); !errors.Is(err, functions.ErrQueueFull) {
			t.Errorf("by the limit of a step: got %v, want ErrQueueFull", err)
		}
		stopLimit()
		if took, err := within(4100 * time.Millisecond); err != nil || took != 4*time.Second {
			t.Errorf("%v after %v, want an answer after 4s", err, took)
		}
		if _, err := within(500 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want its deadline: it need not wait", err)
		}
		others.Wait()
		if n := testutil.ToFloat64(r.metrics.refusals.WithLabelValues("llm", refusedLate)); n != 2 {
			t.Errorf("%v calls counted as too late, want 2", n)
		}
	})
}

// TestMoreUrgentCallsComeFirst, those of one priority in the order in which they came.
func TestMoreUrgentCallsComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		r, stop := startFake(t, &fake{tokens: 1, tokenTime: time.Second}, models, nil)
		defer stop()
		holder, err := r.Generate(t.Context(), llm, ask("x"))
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		var wg sync.WaitGroup
		const urgent, normal, batch = functions.PriorityInteractive, functions.PriorityNormal, functions.PriorityBatch
		for i, p := range []functions.Priority{batch, normal, urgent, batch, normal, urgent} {
			wg.Go(func() {
				if _, _, err := answerOf(t.Context(), r, llm, from("", p)); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, fmt.Sprint(i, p))
			})
			synctest.Wait()
		}
		_ = holder.Close()
		wg.Wait()
		want := []string{"2interactive", "5interactive", "1", "4", "0batch", "3batch"}
		if diff := cmp.Diff(order, want); diff != "" {
			t.Errorf("(-got +want)\n%s", diff)
		}
	})
}

// TestFullQueueTakesOthers: the newest call of a caller that fills the queue gives way to that of another.
func TestFullQueueTakesOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		reg := prometheus.NewRegistry()
		r, stop := startFake(t, &fake{tokens: 1, tokenTime: time.Second}, models, func(c *Config) { c.QueueDepth, c.Metrics = 3, reg })
		defer stop()
		holder, err := r.Generate(t.Context(), llm, from("flood", ""))
		if err != nil {
			t.Fatal(err)
		}
		refused := make(chan int, 4)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				_, _, err := answerOf(t.Context(), r, llm, from("flood", ""))
				if errors.Is(err, functions.ErrQueueFull) && functions.Retryable(err) {
					refused <- i
				} else if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		if i := <-refused; i != 3 {
			t.Errorf("call %d is refused, want the one that came to a full queue", i)
		}
		wg.Go(func() {
			if _, _, err := answerOf(t.Context(), r, llm, from("ann", "")); err != nil {
				t.Error(err)
			}
		})
		if i := <-refused; i != 2 {
			t.Errorf("call %d gives way, want the newest", i)
		}
		_ = holder.Close()
		wg.Wait()
		want := `
# HELP catenary_gpu_device_seconds_total Time that the device was at work on answers, by model.
# TYPE catenary_gpu_device_seconds_total counter
catenary_gpu_device_seconds_total{model="llm"} 3
# HELP catenary_gpu_refused_total Calls that a model's queue refused, by model and reason (full, yielded, late).
# TYPE catenary_gpu_refused_total counter
catenary_gpu_refused_total{model="llm",reason="full"} 1
catenary_gpu_refused_total{model="llm",reason="yielded"} 1
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "catenary_gpu_device_seconds_total", "catenary_gpu_refused_total"); err != nil {
			t.Error(err)
		}
		if n := testutil.CollectAndCount(r.metrics.waits); n != 1 {
			t.Errorf("waits of %d priorities, want 1", n)
		}
	})
}
