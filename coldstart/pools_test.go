package coldstart

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
)

const ms = time.Millisecond

func TestPools_FirstCallStartsFromNothing(t *testing.T) {
	driver := &fake{prepare: 30 * ms, load: 10 * ms, start: 50 * ms, work: 7 * ms, spent: true}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		got := n.call(t, ref)
		want := functions.Timing{Wake: 90 * ms, FirstItem: 97 * ms, Total: 97 * ms, BytesIn: 1, BytesOut: 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error("cold:", diff)
		}
		time.Sleep(time.Second)
		got = n.call(t, ref)
		want = functions.Timing{FirstItem: 7 * ms, Total: 7 * ms, BytesIn: 1, BytesOut: 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error("hot:", diff)
		}
	})
}

// TestPools_IdleAtFiveMinutesExactly: of a WASM function the code stays.
func TestPools_IdleAtFiveMinutesExactly(t *testing.T) {
	driver := &fake{start: 50 * ms, spent: true}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		n.call(t, ref)
		time.Sleep(5*time.Minute - 1)
		n.want(t, ref, Hot, 1)
		time.Sleep(time.Nanosecond)
		n.want(t, ref, Parked, 0)
		loads := driver.counts().loads
		if got := n.call(t, ref); got.Wake != 50*ms {
			t.Errorf("from parked: got a wake of %v, want one start of 50ms", got.Wake)
		}
		if driver.counts().loads != loads {
			t.Error("the code of a parked function was loaded again")
		}
	})
}

// TestPools_PluginWithoutAProcessIsCold: what its starts leave of it is its file alone, also when they fail.
func TestPools_PluginWithoutAProcessIsCold(t *testing.T) {
	driver := &fake{start: 50 * ms, mortal: true}
	driver.onStart = func(*functions.Manifest, int) error { return errors.New("it ended at its start") }
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("transcribe", plugin)
		if _, err := n.try(t.Context(), ref); !errors.Is(err, functions.ErrColdStart) {
			t.Fatalf("got %v, want a start that failed", err)
		}
		synctest.Wait()
		n.want(t, ref, Cold, 0)
	})
}

// TestPools_IdlePluginGoesCold: of a plugin nothing stays, and its own idle time counts.
func TestPools_IdlePluginGoesCold(t *testing.T) {
	driver := &fake{start: 50 * ms, mortal: true}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("transcribe", func(m *functions.Manifest) { m.Kind, m.Idle = functions.KindPlugin, 20*time.Second })
		n.call(t, ref)
		time.Sleep(20*time.Second - 1)
		n.want(t, ref, Hot, 1)
		n.call(t, ref)
		time.Sleep(20*time.Second - 1)
		n.want(t, ref, Hot, 1)
		if driver.counts().starts != 1 {
			t.Errorf("got %d starts, want the one process to serve both calls", driver.counts().starts)
		}
		time.Sleep(time.Nanosecond)
		n.want(t, ref, Cold, 0)
		if driver.counts().codes != 0 {
			t.Error("the code of a plugin was kept")
		}
		n.call(t, ref)
	})
}

// TestPools_SpentInstanceIsReplaced: the next call finds a fresh instance, and the last call did not wait for anything.
func TestPools_SpentInstanceIsReplaced(t *testing.T) {
	driver := &fake{start: 50 * ms, closing: 10 * time.Second, spent: true}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		if got := n.call(t, ref); got.Total != 50*ms {
			t.Errorf("got a call of %v: it waited for more than its start", got.Total)
		}
		time.Sleep(50 * ms)
		for i := range 5 {
			if got := n.call(t, ref); got.Total != 0 {
				t.Errorf("call %d: got %+v, want a ready instance", i, got)
			}
			time.Sleep(50 * ms)
		}
		if driver.counts().starts != 7 {
			t.Errorf("got %d starts, want one per call and one that is ready", driver.counts().starts)
		}
	})
}

// TestPools_OneStartPerMissingInstance: 100 calls at once start as many instances as are allowed, and no more.
func TestPools_OneStartPerMissingInstance(t *testing.T) {
	for _, tt := range []struct {
		name       string
		max        int
		spent      bool
		wantStarts int
	}{
		{"used again", 4, false, 4},
		{"used once", 4, true, 101}, // one per call, and one that is ready in the end
		{"one per call", 200, false, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			driver := &fake{start: 50 * ms, work: 10 * ms, spent: tt.spent}
			configure := func(c *Config) { c.QueueDepth, c.MaxInstances = 100, tt.max }
			run(t, driver, configure, func(t *testing.T, n *node) {
				ref := n.function("speak", nil)
				var wg sync.WaitGroup
				for range 100 {
					wg.Go(func() { n.call(t, ref) })
				}
				wg.Wait()
				time.Sleep(time.Second)
				if driver.counts().starts != tt.wantStarts || driver.counts().loads != 1 || driver.counts().prepares != 1 {
					t.Errorf("got %d starts, %d loads, %d prepares; want %d, 1, 1", driver.counts().starts, driver.counts().loads, driver.counts().prepares, tt.wantStarts)
				}
				if driver.counts().maxLive > tt.max {
					t.Errorf("got %d instances at once, want at most %d", driver.counts().maxLive, tt.max)
				}
			})
		})
	}
}

// TestPools_WaitIsSplitInWakeAndQueue: who waits for another call's instance is queued, not woken.
func TestPools_WaitIsSplitInWakeAndQueue(t *testing.T) {
	driver := &fake{start: 50 * ms, work: 1000 * ms}
	run(t, driver, func(c *Config) { c.MaxInstances = 1 }, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		var first, second functions.Timing
		var wg sync.WaitGroup
		wg.Go(func() { first = n.call(t, ref) })
		synctest.Wait()
		wg.Go(func() { second = n.call(t, ref) })
		wg.Wait()
		if first.Wake != 50*ms || first.Queue != 0 || second.Wake != 0 || second.Queue != 1050*ms {
			t.Errorf("got first %+v and second %+v; want a wake of 50ms, and a queue of 1050ms", first, second)
		}
	})
}

func TestPools_QueueIsFull(t *testing.T) {
	driver := &fake{start: 50 * ms, work: time.Second}
	run(t, driver, func(c *Config) { c.QueueDepth, c.MaxInstances = 3, 1 }, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		n.call(t, ref)
		var wg sync.WaitGroup
		for range 4 { // one that runs and three that wait
			wg.Go(func() { n.call(t, ref) })
			synctest.Wait()
		}
		timing, err := n.try(t.Context(), ref)
		if !errors.Is(err, functions.ErrQueueFull) || timing.Total != 0 {
			t.Errorf("got %v after %v, want ErrQueueFull at once", err, timing.Total)
		}
		if ie, ok := errors.AsType[*functions.InvokeError](err); !ok || ie.Func != "speak" || ie.Version != ref.Digest {
			t.Errorf("got %#v, want an InvokeError that names the function", err)
		}
		wg.Wait()
		n.call(t, ref)
	})
}

// TestPools_BurstOfSessions: calls for which there may be an instance are not of the queue, also while nothing is known of
// the version yet.
func TestPools_BurstOfSessions(t *testing.T) {
	driver := &fake{start: 50 * ms, work: time.Second}
	run(t, driver, func(c *Config) { c.QueueDepth, c.MaxSessions = 3, 100 }, func(t *testing.T, n *node) {
		ref := n.function("listen", func(m *functions.Manifest) { m.In.Stream, m.Out.Stream = true, true })
		var wg sync.WaitGroup
		for range 103 { // all at once
			wg.Go(func() { n.call(t, ref) })
		}
		synctest.Wait()
		if _, err := n.try(t.Context(), ref); !errors.Is(err, functions.ErrQueueFull) {
			t.Errorf("got %v, want ErrQueueFull", err)
		}
		wg.Wait()
	})
}

// TestPools_CancelInQueueFreesThePlace: and a deadline ends the wait in time.
func TestPools_CancelInQueueFreesThePlace(t *testing.T) {
	driver := &fake{work: time.Second}
	run(t, driver, func(c *Config) { c.QueueDepth, c.MaxInstances = 1, 1 }, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		var wg sync.WaitGroup
		wg.Go(func() { n.call(t, ref) })
		synctest.Wait()
		gone := errors.New("the caller is gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		wg.Go(func() {
			if _, err := n.try(ctx, ref); !errors.Is(err, gone) {
				t.Errorf("got %v, want the cause of the context", err)
			}
		})
		synctest.Wait()
		cancel(gone)
		synctest.Wait()
		if s := n.status(t, ref); s.Queued != 0 {
			t.Fatalf("got %d in the queue, want none", s.Queued)
		}
		late, stop := context.WithTimeout(t.Context(), 100*ms)
		defer stop()
		timing, err := n.try(late, ref)
		if !errors.Is(err, context.DeadlineExceeded) || timing.Total != 100*ms || timing.Queue != 100*ms {
			t.Errorf("got %v after %+v, want the deadline after 100ms in the queue", err, timing)
		}
		wg.Go(func() { n.call(t, ref) }) // takes the free place
		wg.Wait()
		if driver.counts().starts != 1 {
			t.Errorf("got %d starts, want 1", driver.counts().starts)
		}
	})
}

// TestPools_StartIsNotLost: the caller that a start was for goes, and the next call gets the instance.
func TestPools_StartIsNotLost(t *testing.T) {
	driver := &fake{start: time.Second}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		if _, err := n.try(ctx, ref); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, want the deadline", err)
		}
		if got := n.call(t, ref); got.Wake != 900*ms || driver.counts().starts != 1 {
			t.Errorf("got a wake of %v and %d starts, want the rest of the one start", got.Wake, driver.counts().starts)
		}
	})
}

func TestPools_CrashDuringCall(t *testing.T) {
	for _, tt := range []struct {
		name  string
		crash func(inst *fakeInstance) error
		want  error
	}{
		{"trap", func(*fakeInstance) error { return fmt.Errorf("%w: unreachable", functions.ErrTrap) }, functions.ErrTrap},
		{"kill", func(inst *fakeInstance) error {
			inst.die()
			return fmt.Errorf("%w: the process is gone", functions.ErrUnavailable)
		}, functions.ErrUnavailable},
		{"panic", func(*fakeInstance) error { panic("a fault in the driver") }, functions.ErrTrap},
	} {
		t.Run(tt.name, func(t *testing.T) {
			crashes := 1
			driver := &fake{start: 50 * ms, mortal: true}
			driver.onServe = func(ctx context.Context, inst *fakeInstance, in functions.Source, out functions.Sink, _ functions.Host) error {
				if crashes > 0 {
					crashes--
					return tt.crash(inst)
				}
				return inst.echo(ctx, in, out)
			}
			run(t, driver, nil, func(t *testing.T, n *node) {
				ref := n.function("transcribe", plugin)
				_, err := n.try(t.Context(), ref)
				ie, ok := errors.AsType[*functions.InvokeError](err)
				if !ok || !errors.Is(err, tt.want) || ie.Instance != "transcribe-1" {
					t.Fatalf("got %v, want %v of instance transcribe-1", err, tt.want)
				}
				if got := n.call(t, ref); got.Total != 50*ms {
					t.Errorf("the next call took %v, want one start", got.Total)
				}
				n.want(t, ref, Hot, 1)
			})
		})
	}
}

// TestPools_FunctionErrorKeepsTheInstance: who says that it can't is not broken.
func TestPools_FunctionErrorKeepsTheInstance(t *testing.T) {
	driver := &fake{mortal: true}
	driver.onServe = func(context.Context, *fakeInstance, functions.Source, functions.Sink, functions.Host) error {
		return fmt.Errorf("%w: not a wav", functions.ErrFunction)
	}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("transcribe", plugin)
		for range 3 {
			if _, err := n.try(t.Context(), ref); !errors.Is(err, functions.ErrFunction) {
				t.Fatalf("got %v, want ErrFunction", err)
			}
		}
		if driver.counts().starts != 1 {
			t.Errorf("got %d starts, want 1", driver.counts().starts)
		}
	})
}

// TestPools_IdleInstanceDies: it is removed and closed, and the hot pool gets another one; one that dies again and again
// is started less and less often.
func TestPools_IdleInstanceDies(t *testing.T) {
	driver := &fake{start: 50 * ms, mortal: true}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("transcribe", plugin)
		n.call(t, ref)
		synctest.Wait()
		driver.instances[0].die()
		time.Sleep(50 * ms)
		n.want(t, ref, Hot, 1)
		if driver.counts().starts != 2 || driver.counts().live != 1 {
			t.Fatalf("got %d starts and %d alive, want 2 and 1", driver.counts().starts, driver.counts().live)
		}
		driver.start = 0
		driver.onStart = func(*functions.Manifest, int) error { return errors.New("no such library") }
		driver.instances[1].die()
		time.Sleep(time.Minute)
		// At most: two at once, pauses of 0.1 to 3.2 s in 6.3 s, then one each 5 s.
		if got := driver.counts().starts - 2; got < 5 || got > 2+6+11 {
			t.Errorf("got %d starts in a minute, want pauses that grow to 5s", got)
		}
		time.Sleep(5 * time.Minute)
		n.want(t, ref, Cold, 0)
		driver.onStart = nil
		n.call(t, ref)
	})
}

func TestPools_StartFails(t *testing.T) {
	broken := true
	driver := &fake{start: 50 * ms}
	driver.onStart = func(*functions.Manifest, int) error {
		if broken {
			return errors.New("no such library")
		}
		return nil
	}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				_, err := n.try(t.Context(), ref)
				ie, ok := errors.AsType[*functions.InvokeError](err)
				if !ok || !errors.Is(err, functions.ErrColdStart) || !functions.Retryable(err) || ie.Instance != "" {
					t.Errorf("got %v, want an InvokeError that wraps ErrColdStart", err)
				}
			})
		}
		wg.Wait()
		if driver.counts().starts != 8 {
			t.Errorf("got %d starts, want 8: as many as may be", driver.counts().starts)
		}
		broken = false
		n.call(t, ref)
	})
}

// TestPools_ImageFails: what can never run says so, and is not told from a start that may work next time.
func TestPools_ImageFails(t *testing.T) {
	driver := &fake{}
	driver.onPrepare = func(*functions.Manifest) error {
		return fmt.Errorf("%w: not a module", functions.ErrInvalid)
	}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		if _, err := n.try(t.Context(), ref); !errors.Is(err, functions.ErrInvalid) || functions.Retryable(err) {
			t.Errorf("got %v, want ErrInvalid, which is not worth a retry", err)
		}
		unknown := functions.Ref{Name: "nobody", Digest: functions.DigestOf(nil)}
		if _, err := n.try(t.Context(), unknown); !errors.Is(err, functions.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
		if _, err := n.try(t.Context(), functions.Ref{Name: "nobody", Digest: "x"}); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("got %v, want ErrInvalid", err)
		}
		synctest.Wait()
		if got := len(n.Status()); got != 1 {
			t.Errorf("got %d pools, want none for what does not exist", got)
		}
	})
}

func TestPools_StartTakesTooLong(t *testing.T) {
	driver := &fake{start: time.Hour}
	run(t, driver, nil, func(t *testing.T, n *node) {
		timing, err := n.try(t.Context(), n.function("speak", nil))
		if !errors.Is(err, functions.ErrColdStart) || errors.Is(err, context.DeadlineExceeded) || timing.Total != 30*time.Second {
			t.Errorf("got %v after %v, want ErrColdStart after 30s, which is not the caller's deadline", err, timing.Total)
		}
	})
}

// TestStartError says once that a start failed, with the limit that it ran into and what the driver has to say.
func TestStartError(t *testing.T) {
	limit := errors.New("it was not ready within 30s")
	late, cancel := context.WithCancelCause(t.Context())
	cancel(limit)
	for _, tt := range []struct {
		name string
		ctx  context.Context
		err  error
		want string
	}{
		{"plain", t.Context(), errors.New("no such library"), "start failed: no such library"},
		{"said by the driver", t.Context(), fmt.Errorf("%w: no such library", functions.ErrColdStart), "start failed: no such library"},
		{"late", late, context.Canceled, "start failed: it was not ready within 30s (context canceled)"},
		{"late, said by the driver", late, fmt.Errorf("%w: plugin a: no word", functions.ErrColdStart), "start failed: it was not ready within 30s (plugin a: no word)"},
		{"the driver gives the cause", late, fmt.Errorf("%w: plugin a: %w", functions.ErrColdStart, limit), "start failed: plugin a: it was not ready within 30s"},
		{"the driver gives the cause alone", late, limit, "start failed: it was not ready within 30s"},
	} {
		err := startError(tt.ctx, tt.err)
		if err.Error() != tt.want || !errors.Is(err, functions.ErrColdStart) || tt.ctx == late && !errors.Is(err, limit) {
			t.Errorf("%s: got %q, want %q", tt.name, err, tt.want)
		}
	}
}

func TestPools_ResetFails(t *testing.T) {
	driver := &fake{mortal: true, onReset: func() error { return errors.New("does not answer") }}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("transcribe", plugin)
		n.call(t, ref)
		n.call(t, ref)
		synctest.Wait()
		if driver.counts().live != 1 || driver.counts().starts != 3 {
			t.Errorf("got %d alive of %d started, want 1 of 3", driver.counts().live, driver.counts().starts)
		}
	})
}

// TestPools_LeastRecentlyUsedGoesCold: the budget takes what is unused, the oldest first, be it hot or parked.
func TestPools_LeastRecentlyUsedGoesCold(t *testing.T) {
	driver := &fake{codeBytes: 100, instBytes: 10, spent: true}
	run(t, driver, func(c *Config) { c.MemBytes = 350 }, func(t *testing.T, n *node) {
		call := func(ref functions.Ref) {
			t.Helper()
			n.call(t, ref)
			time.Sleep(time.Second)
		}
		var refs []functions.Ref
		for i := range 6 {
			refs = append(refs, n.function(fmt.Sprintf("f%d", i), nil))
		}
		for _, ref := range refs[:3] {
			call(ref)
		}
		time.Sleep(6 * time.Minute)
		for _, ref := range refs[:3] {
			n.want(t, ref, Parked, 0)
		}
		call(refs[0]) // so f1 is the oldest
		call(refs[3])
		n.want(t, refs[0], Hot, 1)
		n.want(t, refs[1], Cold, 0)
		n.want(t, refs[2], Parked, 0)
		call(refs[4])
		n.want(t, refs[0], Hot, 1)
		n.want(t, refs[2], Cold, 0)
		call(refs[5]) // all are hot, and f0 is the oldest
		n.want(t, refs[0], Cold, 0)
		for _, ref := range refs[3:] {
			n.want(t, ref, Hot, 1)
		}
		if log := n.log.String(); strings.Count(log, "reason=memory") != 3 || strings.Contains(log, "reason=idle") {
			t.Errorf("the log does not say that memory took three codes:\n%s", log)
		}
	})
}

// TestPools_IdleInstancesYieldToMemory, and busy ones don't; what is hot and has no room stays without a spare instance.
func TestPools_IdleInstancesYieldToMemory(t *testing.T) {
	driver := &fake{codeBytes: 10, instBytes: 100, work: time.Minute}
	run(t, driver, func(c *Config) { c.MemBytes = 250 }, func(t *testing.T, n *node) {
		a, b, c := n.function("a", nil), n.function("b", nil), n.function("c", plugin)
		n.call(t, a)
		n.call(t, b)
		n.want(t, a, Hot, 1)
		n.want(t, b, Hot, 1)
		n.call(t, c)
		n.want(t, a, Parked, 0) // its instance was enough
		n.want(t, b, Hot, 1)
		n.want(t, c, Hot, 1)
		var wg sync.WaitGroup
		for _, ref := range []functions.Ref{a, b, c} {
			wg.Go(func() { n.call(t, ref) })
		}
		synctest.Wait()
		if got := n.sum(memBytes); got != 330 {
			t.Errorf("got %d bytes, want all three to be served, whatever the budget", got)
		}
		wg.Wait()
		synctest.Wait()
		if got := n.sum(memBytes); got > 250 {
			t.Errorf("got %d bytes after the calls, want no more than the budget of 250", got)
		}
		starts := driver.counts().starts
		time.Sleep(time.Hour)
		if again := driver.counts().starts - starts; again != 0 {
			t.Errorf("%d instances were started for nobody", again)
		}
	})
}

// TestPools_NoSpareWithoutMemory: an instance that would have to go at once is not started.
func TestPools_NoSpareWithoutMemory(t *testing.T) {
	driver := &fake{codeBytes: 10, instBytes: 100, spent: true}
	run(t, driver, func(c *Config) { c.MemBytes = 50 }, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		for range 3 {
			n.call(t, ref)
			n.want(t, ref, Parked, 0)
		}
		if c := driver.counts(); c.starts != 3 || c.loads != 1 {
			t.Errorf("got %+v, want one start per call and one load", c)
		}
	})
}

// TestPools_ForgetsOldVersions: what a node remembers of versions that hold nothing is bounded.
func TestPools_ForgetsOldVersions(t *testing.T) {
	run(t, &fake{}, nil, func(t *testing.T, n *node) {
		hot := n.function("hot", nil)
		n.call(t, hot)
		for i := range maxPools + 10 {
			ref := n.function(fmt.Sprintf("f%d", i), plugin)
			if _, err := n.Prepare(t.Context(), []functions.Ref{ref}, nil); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := len(n.Status()); got != maxPools {
			t.Errorf("got %d entries, want %d", got, maxPools)
		}
		n.want(t, hot, Hot, 1)
		n.call(t, n.function("f0", plugin)) // was forgotten
	})
}

func TestNew_Refuses(t *testing.T) {
	config := DefaultConfig()
	if err := config.Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	n := &node{}
	deps := Deps{Manifests: n, Artifacts: n}
	if _, err := New(config, deps); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("no driver: got %v, want ErrInvalid", err)
	}
	err := Config{QueueDepth: -1}.Validate()
	if joined, ok := err.(interface{ Unwrap() []error }); !ok || len(joined.Unwrap()) != 9 {
		t.Errorf("got %v, want all nine faults", err)
	}
}

// TestPools_WhoResets: a reset that takes less than to wake another thread is made by who called, once that is known; for any
// other nobody waits. What a call took is told without it.
func TestPools_WhoResets(t *testing.T) {
	for reset, waits := range map[time.Duration]bool{shortReset: true, shortReset + 1: false, time.Second: false} {
		driver := &fake{work: ms, onReset: func() error { time.Sleep(reset); return nil }}
		run(t, driver, nil, func(t *testing.T, n *node) {
			ref := n.function("speak", nil)
			for i := range 3 {
				began := time.Now()
				timing := n.call(t, ref)
				want := ms
				if waits && i > 0 {
					want += reset
				}
				if took := time.Since(began); i > 0 && (took != want || timing.Total != ms) {
					t.Errorf("a reset of %v: call %d took %v, and says %v; want %v and %v", reset, i, took, timing.Total, want, ms)
				}
				time.Sleep(time.Minute)
			}
			if c := driver.counts(); c.starts != 1 {
				t.Errorf("%d instances were started", c.starts)
			}
		})
	}
}

// TestPools_CallsLeaveTheLoopAsleep: a call that finds an instance ready, and its reset, leave nothing to decide. To wake
// the loop for them took longer than a small call.
func TestPools_CallsLeaveTheLoopAsleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{driver: &fake{work: ms, instBytes: 10}}
		var err error
		if n.Pools, err = New(DefaultConfig(), Deps{Drivers: []sandbox.Driver{n.driver}, Manifests: n, Artifacts: n}); err != nil {
			t.Fatal(err)
		}
		steps := 0
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() { // Run's loop, without its timer
			defer close(stopped)
			for {
				n.step(t.Context())
				steps++
				select {
				case <-n.poke:
				case <-stop:
					for n.stop(); !n.gone(); synctest.Wait() {
						n.step(t.Context())
					}
					n.tasks.Wait()
					return
				}
			}
		}()
		ref := n.function("speak", nil)
		n.call(t, ref)
		synctest.Wait()
		before := steps
		for range 100 {
			n.call(t, ref)
			synctest.Wait()
		}
		if steps != before {
			t.Errorf("100 calls woke the loop %d times", steps-before)
		}
		if s := n.status(t, ref); s.Instances == 0 || n.driver.counts().starts != s.Instances {
			t.Errorf("got %+v after %+v, want instances that serve again and again", s, n.driver.counts())
		}
		if _, next := decide(n.pools[ref.Digest].spec(n.config), n.pools[ref.Digest].observe(false), n.pools[ref.Digest].state, time.Now()); next.Next.Before(n.due) {
			t.Errorf("the loop looks again at %v, and should at %v", n.due, next.Next)
		}
		close(stop)
		<-stopped
	})
}
