package gpu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catenary-run/catenary/functions"
)

func noCommand() *exec.Cmd { panic("no process in this test") }

func TestSingleFlightAndOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{startTime: time.Second, loadTime: 2 * time.Second, tokenTime: 10 * time.Millisecond, tokens: 10}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if text, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil || text != words(10) {
					t.Errorf("got %q, %v", text, err)
				}
			})
			wg.Go(func() {
				if err := r.Wake(t.Context(), llm); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if f.starts.Load() != 1 || f.loads.Load() != 1 || f.wakes.Load() != 0 || f.generates.Load() != 8 {
			t.Errorf("%d starts, %d loads, %d wakes, %d answers, want 1, 1, 0, 8", f.starts.Load(), f.loads.Load(), f.wakes.Load(), f.generates.Load())
		}
		if n := f.most.Load(); n != 1 {
			t.Errorf("%d answers at the same time, want 1", n)
		}
		if s := statusOf(t, r, llm); s.WakeTime != 3*time.Second || s.MemBytes != 100 {
			t.Errorf("status %+v, want a wake of 3 s, the worker's start in it, and 100 bytes", s)
		}
	})
}

func TestIdleModelParksThenUnloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{tokens: 3, tokenTime: time.Minute}
		r, stop := startFake(t, f, models, func(c *Config) { c.IdleAfter = 5 * time.Minute })
		defer stop()
		for range 3 { // each call takes three minutes, and the next comes four later: it is never idle for five
			if _, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(4 * time.Minute)
		}
		if n := f.parks.Load(); n != 0 {
			t.Errorf("parked %d times while in use", n)
		}
		time.Sleep(2 * time.Minute)
		if s := statusOf(t, r, llm); s.Tier != TierParked || s.MemBytes != 0 || f.parks.Load() != 1 {
			t.Errorf("%+v after %d parks, want parked by one", s, f.parks.Load())
		}
		if _, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil {
			t.Fatal(err)
		}
		if f.loads.Load() != 1 || f.wakes.Load() != 1 {
			t.Errorf("%d loads, %d wakes, want one of each", f.loads.Load(), f.wakes.Load())
		}
		time.Sleep(2 * time.Hour)
		if s := statusOf(t, r, llm); s.Tier != TierCold || f.unloads.Load() != 1 {
			t.Errorf("%+v after %d unloads, want cold by one", s, f.unloads.Load())
		}
		if _, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil || f.loads.Load() != 2 {
			t.Errorf("%v, %d loads, want a second one", err, f.loads.Load())
		}
	})
}

// TestWokenModelParksThoughNobodyCalls: a run wakes the models that it may need, and often needs none.
func TestWokenModelParksThoughNobodyCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{}
		r, stop := startFake(t, f, models, func(c *Config) { c.IdleAfter = 5 * time.Minute })
		defer stop()
		for range 3 { // the first wake loads it, the second finds it hot, the third parked
			for range 2 {
				if err := r.Wake(t.Context(), llm); err != nil {
					t.Fatal(err)
				}
				time.Sleep(4 * time.Minute)
			}
			if s := statusOf(t, r, llm); s.Tier != TierHot {
				t.Errorf("%+v four minutes after a wake, want hot", s)
			}
			time.Sleep(2 * time.Minute)
			if s := statusOf(t, r, llm); s.Tier != TierParked {
				t.Errorf("%+v six minutes after a wake that no call followed, want parked", s)
			}
		}
	})
}

func TestQueueIsBoundedAndFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{tokens: 2, tokenTime: time.Second}
		r, stop := startFake(t, f, models, func(c *Config) { c.QueueDepth = 3 })
		defer stop()
		holder, err := r.Generate(t.Context(), llm, ask("x"))
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		leaving, leave := context.WithCancelCause(t.Context())
		for i := range 3 {
			ctx := t.Context()
			if i == 1 {
				ctx = leaving
			}
			wg.Go(func() {
				_, _, err := answerOf(ctx, r, llm, ask("x"))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					order = append(order, i)
				} else if i != 1 || !errors.Is(err, errNope) {
					t.Errorf("caller %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		if s := statusOf(t, r, llm); s.Leases != 1 || s.Queued != 3 {
			t.Errorf("status %+v, want 1 lease and 3 in the queue", s)
		}
		began := time.Now()
		if _, err := r.Generate(t.Context(), llm, ask("x")); !errors.Is(err, functions.ErrQueueFull) || time.Since(began) != 0 {
			t.Errorf("got %v after %v, want ErrQueueFull at once", err, time.Since(began))
		}
		leave(errNope)
		synctest.Wait()
		if s := statusOf(t, r, llm); s.Queued != 2 {
			t.Errorf("%d in the queue after one left, want 2", s.Queued)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := r.Generate(short, llm, ask("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want its deadline", err)
		}
		if err := holder.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if fmt.Sprint(order) != "[0 2]" {
			t.Errorf("served in the order %v, want [0 2]", order)
		}
	})
}

func TestCloseAndCancelStopTheDecoder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{tokens: 1000, tokenTime: time.Second}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		ctx, cancel := context.WithCancelCause(t.Context())
		ends := map[string]func(functions.Tokens){
			"close":  func(tokens functions.Tokens) { _ = tokens.Close(); _ = tokens.Close() },
			"cancel": func(functions.Tokens) { cancel(errNope) },
		}
		for name, end := range ends {
			f.sent.Store(0)
			f.stops.Store(0)
			tokens, err := r.Generate(ctx, llm, ask("x"))
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, err := tokens.Recv(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			end(tokens)
			synctest.Wait()
			if f.sent.Load() != 3 || f.stops.Load() != 1 {
				t.Errorf("%s: %d tokens were decoded, %d answers stopped, want 3 and 1", name, f.sent.Load(), f.stops.Load())
			}
			want := map[string]error{"close": functions.ErrClosed, "cancel": errNope}[name]
			if _, err := tokens.Recv(t.Context()); !errors.Is(err, want) {
				t.Errorf("%s: then got %v, want %v", name, err, want)
			}
			if s := statusOf(t, r, llm); s.Leases != 0 {
				t.Errorf("%s: the model is not free: %+v", name, s)
			}
			_ = tokens.Close()
			ctx, cancel = context.WithCancelCause(t.Context())
		}
		cancel(nil)
	})
}

func TestShortAnswerFreesTheSlotBeforeItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{tokens: window}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		slow, err := r.Generate(t.Context(), llm, ask("x"))
		if err != nil {
			t.Fatal(err)
		}
		if text, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil || text != words(window) {
			t.Errorf("the second caller: %q, %v", text, err)
		}
		if text, count, finish, err := read(t.Context(), slow); err != nil || text != words(window) || count != window || finish != "stop" {
			t.Errorf("the first, later: %d tokens, %q, %v", count, finish, err)
		}
		_ = slow.Close()
	})
}

func TestSlowReaderHoldsTheDecoder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		const total = 1000
		f := &fake{tokens: total}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		tokens, err := r.Generate(t.Context(), llm, ask("x"))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if ahead := f.sent.Load(); ahead != window {
			t.Errorf("%d tokens are decoded for a reader that takes none, want %d", ahead, window)
		}
		for taken := int64(1); taken <= total; taken++ {
			if _, err := tokens.Recv(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			// Never more ahead than a window, and never less than a half of it.
			if ahead := f.sent.Load() - taken; ahead > window || ahead < min(window/2, total-taken) {
				t.Fatalf("%d tokens are decoded ahead of a reader that has taken %d", ahead, taken)
			}
		}
		if _, err := tokens.Recv(t.Context()); err != io.EOF {
			t.Errorf("got %v, want the end", err)
		}
		_ = tokens.Close()
	})
}

func TestCrashFailsTheCallInFlightAndNotThoseThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm, other := models.add("llm", "x"), models.add("other", "x")
		f := &fake{tokens: 10, tokenTime: time.Second, loadTime: time.Second}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		if err := r.Wake(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		inFlight, err := r.Generate(t.Context(), llm, ask("x"))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if text, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil || text != words(10) {
				t.Errorf("the one that waited: %q, %v", text, err)
			}
		})
		time.Sleep(2500 * time.Millisecond)
		f.crash()
		text, count, _, err := read(t.Context(), inFlight)
		if !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err) || !strings.Contains(err.Error(), "llm") {
			t.Errorf("got %v, want a retryable ErrUnavailable that names the model", err)
		}
		if text != words(2) || count != 2 {
			t.Errorf("what had come before is lost: %q", text)
		}
		_ = inFlight.Close()
		wg.Wait()
		if f.starts.Load() != 2 || f.loads.Load() != 3 {
			t.Errorf("%d starts, %d loads, want 2 and 3", f.starts.Load(), f.loads.Load())
		}
		if s := statusOf(t, r, other); s.Tier != TierCold || s.MemBytes != 0 {
			t.Errorf("the other model: %+v, want cold", s)
		}
	})
}

func TestCrashLoopIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{startErr: errNope}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		began := time.Now()
		for time.Since(began) < 5*time.Minute {
			_, _, err := answerOf(t.Context(), r, llm, ask("x"))
			if !errors.Is(err, functions.ErrColdStart) || !errors.Is(err, errNope) || !functions.Retryable(err) {
				t.Fatalf("got %v, want a retryable ErrColdStart with its cause", err)
			}
			if want := "model llm: start failed: model worker: nope"; err.Error() != want {
				t.Fatalf("got %q, want %q", err, want)
			}
		}
		// 100 ms, doubled up to 10 s: seven starts in the first 10 s, then one every 10 s.
		if n := f.starts.Load(); n < 30 || n > 40 {
			t.Errorf("%d starts in five minutes", n)
		}
		f.startErr = nil
		f.tokens = 1
		if _, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil {
			t.Errorf("once it can start: %v", err)
		}
	})
}

// TestCrashAfterAnAnswerIsNotWaitedFor: a worker that dies in a call, again and again, with a good call after each time,
// is there again at once. One that only dies is not.
func TestCrashAfterAnAnswerIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{tokens: 2 * window} // half of it waits for the reader
		r, stop := startFake(t, f, models, nil)
		defer stop()
		killed := func() {
			t.Helper()
			tokens, err := r.Generate(t.Context(), llm, ask("x"))
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			f.crash()
			if _, _, _, err := read(t.Context(), tokens); !errors.Is(err, functions.ErrUnavailable) {
				t.Fatalf("got %v, want ErrUnavailable", err)
			}
		}
		began := time.Now()
		for i := range 8 {
			if text, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil || text != words(2*window) {
				t.Fatalf("call %d: %q, %v", i, text, err)
			}
			killed()
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("eight starts waited %v in all, want none to wait", took)
		}
		for range 4 { // the first worker is there at once, since the one before it had served
			killed()
		}
		if took := time.Since(began); took != 700*time.Millisecond {
			t.Errorf("four workers that served nobody came within %v, want 700 ms", took)
		}
	})
}

// TestNoEngine: it shows before anybody asks, no worker is started, and once there is one the next call has it.
func TestNoEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{tokens: 1}
		var missing error = fmt.Errorf("%w: no libllama; install it", functions.ErrNoDevice)
		looks := 0
		r, stop := startFake(t, f, models, func(c *Config) { c.Engine = func() error { looks++; return missing } })
		defer stop()
		if err := r.Unavailable(); err != missing {
			t.Errorf("before any call: got %v, want %v", err, missing)
		}
		for range 3 {
			if _, _, err := answerOf(t.Context(), r, llm, ask("x")); !errors.Is(err, missing) || !strings.Contains(err.Error(), "llm") {
				t.Fatalf("got %v, want %v of the model", err, missing)
			}
		}
		if err := r.Prepare(t.Context(), llm); !errors.Is(err, missing) {
			t.Errorf("prepare: got %v, want %v", err, missing)
		}
		if s := statusOf(t, r, llm); s.Tier != TierUnavailable || s.Why != missing.Error() || f.starts.Load() != 0 {
			t.Errorf("got %+v after %d starts, want it unavailable after none", s, f.starts.Load())
		}
		missing = nil
		if s := statusOf(t, r, llm); s.Tier != TierCold || s.Why != "" || r.Unavailable() != nil {
			t.Errorf("got %+v, want it cold: there is an engine now", s)
		}
		if _, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil {
			t.Fatal(err)
		}
		looks = 0
		missing = errNope // its files go: what is loaded works on
		for range 3 {
			if _, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil {
				t.Fatal(err)
			}
		}
		if looks != 0 {
			t.Errorf("%d looks for an engine in three calls that had one", looks)
		}
		if s := statusOf(t, r, llm); s.Tier != TierHot {
			t.Errorf("got %+v, want hot", s)
		}
	})
}

// TestWorkerWithoutAnEngine: what only a worker can find out, it is asked again, though not for each call.
func TestWorkerWithoutAnEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{tokens: 1, unavailable: "no device: libllama can't be loaded"}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		began := time.Now()
		for range 100 {
			if _, _, err := answerOf(t.Context(), r, llm, ask("x")); !errors.Is(err, functions.ErrNoDevice) {
				t.Fatalf("got %v, want ErrNoDevice", err)
			}
		}
		if took := time.Since(began); took != 0 || f.starts.Load() != 1 {
			t.Errorf("%d workers were started in %v, want one at once", f.starts.Load(), took)
		}
		if s := statusOf(t, r, llm); s.Tier != TierUnavailable || s.Why != f.unavailable || r.Unavailable() == nil {
			t.Errorf("got %+v, want it unavailable for the worker's reason", s)
		}
		synctest.Wait()
		if !f.last.ended() {
			t.Error("a worker of no use is kept")
		}
		f.unavailable = ""
		time.Sleep(defaultPolicy.backoffMin)
		if _, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil || f.starts.Load() != 2 {
			t.Errorf("got %v after %d starts, want the answer of the second worker", err, f.starts.Load())
		}
		if s := statusOf(t, r, llm); s.Tier != TierHot || s.Why != "" {
			t.Errorf("got %+v, want it hot", s)
		}
	})
}

func TestFailedLoadFailsAllWhoWaitAndIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{loadErr: fmt.Errorf("%w: no room", functions.ErrMemoryLimit), loadTime: time.Second, tokens: 1}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, _, err := answerOf(t.Context(), r, llm, ask("x")); !errors.Is(err, functions.ErrMemoryLimit) {
					t.Errorf("got %v, want ErrMemoryLimit", err)
				}
			})
		}
		wg.Wait()
		if s := statusOf(t, r, llm); f.loads.Load() != 1 || s.Tier != TierCold || !strings.Contains(s.Why, "no room") {
			t.Errorf("%d loads, %+v, want one and the reason", f.loads.Load(), s)
		}
		f.loadErr = nil
		if _, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil || statusOf(t, r, llm).Why != "" {
			t.Errorf("then: %v, %+v", err, statusOf(t, r, llm))
		}
	})
}

func TestPrepareTriesTheModelInAWorkerOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm, bad := models.add("llm", "x"), models.add("bad", "x")
		f := &fake{tokens: 10, tokenTime: time.Second}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		for range 2 { // the second time it is known to be good
			if err := r.Prepare(t.Context(), llm); err != nil {
				t.Fatal(err)
			}
		}
		if s := statusOf(t, r, llm); f.starts.Load() != 1 || s.Tier != TierCold {
			t.Errorf("%d starts, %+v, want one and a cold model", f.starts.Load(), s)
		}
		inFlight, err := r.Generate(t.Context(), llm, ask("x"))
		if err != nil {
			t.Fatal(err)
		}
		f.crashOnLoad = true
		if err := r.Prepare(t.Context(), bad); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), "bad") {
			t.Errorf("a file that crashes the engine: got %v, want ErrInvalid that names the model", err)
		}
		f.fromOutside = true
		if err := r.Prepare(t.Context(), bad); !errors.Is(err, functions.ErrUnavailable) {
			t.Errorf("a worker that was killed: got %v, want ErrUnavailable", err)
		}
		if text, _, _, err := read(t.Context(), inFlight); err != nil || text != words(10) {
			t.Errorf("the call beside it: %q, %v", text, err)
		}
		_ = inFlight.Close()
		if s := r.Status(); len(s) != 1 {
			t.Errorf("the refused model is kept: %+v", s)
		}
		if n := f.starts.Load(); n != 4 {
			t.Errorf("%d starts, want 4: one to serve, three to try", n)
		}
	})
}

func TestPrepareEndsWithItsContextAndWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{loadTime: time.Hour}
		r, stop := startFake(t, f, models, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.Prepare(ctx, llm); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want its deadline", err)
		}
		result := make(chan error, 1)
		go func() { result <- r.Prepare(t.Context(), llm) }()
		synctest.Wait()
		stop()
		if err := <-result; !errors.Is(err, functions.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		if err := r.Prepare(t.Context(), llm); !errors.Is(err, functions.ErrClosed) {
			t.Errorf("afterwards: got %v, want ErrClosed", err)
		}
	})
}

func TestEndOfRunFailsWhoeverIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{tokens: 10, tokenTime: time.Second}
		r, stop := startFake(t, f, models, nil)
		inFlight, err := r.Generate(t.Context(), llm, ask("x"))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.Generate(t.Context(), llm, ask("x")); !errors.Is(err, functions.ErrClosed) {
				t.Errorf("in the queue: got %v, want ErrClosed", err)
			}
		})
		synctest.Wait()
		stop()
		wg.Wait()
		if _, _, _, err := read(t.Context(), inFlight); !errors.Is(err, functions.ErrClosed) {
			t.Errorf("in flight: got %v, want ErrClosed", err)
		}
		if err := r.Wake(t.Context(), llm); !errors.Is(err, functions.ErrClosed) {
			t.Errorf("afterwards: got %v, want ErrClosed", err)
		}
		if err := r.Run(t.Context()); err == nil {
			t.Error("Run ran twice")
		}
	})
}

func TestConfigValidate(t *testing.T) {
	err := (&Config{IdleAfter: -1, QueueDepth: -1, Threads: -1}).Validate()
	for _, want := range []string{"Command", "Dir", "Models", "IdleAfter", "QueueDepth", "Threads"} {
		if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}
