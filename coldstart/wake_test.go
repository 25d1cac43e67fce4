package coldstart

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
)

// path adds five functions whose starts take 50 to 800 ms.
func path(n *node) (refs []functions.Ref) {
	n.driver.startOf = map[string]time.Duration{}
	for i, start := range []time.Duration{50 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms} {
		name := fmt.Sprintf("f%d", i)
		n.driver.startOf[name] = start
		refs = append(refs, n.function(name, nil))
	}
	return refs
}

// TestWake_PathTakesTheMaximum: five starts of 50 to 800 ms, woken together, take 800 ms; each after the other takes
// their sum.
func TestWake_PathTakesTheMaximum(t *testing.T) {
	run(t, &fake{}, nil, func(t *testing.T, n *node) {
		refs := path(n)
		began := time.Now()
		if err := n.Wake(t.Context(), refs, nil); err != nil {
			t.Fatal(err)
		}
		for _, ref := range refs {
			if got := n.call(t, ref); got.Wake != 0 || got.Queue != 0 {
				t.Errorf("%s waited %+v after it was woken", ref, got)
			}
		}
		if got := time.Since(began); got != 800*ms {
			t.Errorf("got %v from sleep to answer, want exactly the slowest start, 800ms", got)
		}
	})
	run(t, &fake{}, nil, func(t *testing.T, n *node) {
		began := time.Now()
		for _, ref := range path(n) {
			n.call(t, ref)
		}
		if got := time.Since(began); got != 1550*ms {
			t.Errorf("step by step: got %v, want the sum, 1550ms", got)
		}
	})
}

// TestWake_SparesComeAfterTheRush: the instance that a used one leaves missing is started when nobody waits for another
// start any more, here 750 ms later.
func TestWake_SparesComeAfterTheRush(t *testing.T) {
	var spares []time.Duration
	driver := &fake{spent: true, start: 50 * ms}
	run(t, driver, nil, func(t *testing.T, n *node) {
		quick, slow := n.function("quick", nil), n.function("slow", nil)
		began := time.Now()
		driver.startOf = map[string]time.Duration{"quick": 50 * ms, "slow": 800 * ms}
		driver.onStart = func(m *functions.Manifest, _ int) error {
			if m.Name == "quick" {
				spares = append(spares, time.Since(began))
			}
			return nil
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := n.Wake(t.Context(), []functions.Ref{quick, slow}, nil); err != nil {
				t.Error(err)
			}
		})
		n.call(t, quick)
		wg.Wait()
		time.Sleep(time.Second)
		n.want(t, quick, Hot, 1)
		if want := []time.Duration{50 * ms, 850 * ms}; !slices.Equal(spares, want) {
			t.Errorf("instances of quick were there after %v, want %v", spares, want)
		}
	})
}

// TestWake_AndCallStartOneInstance: as does a second wake.
func TestWake_AndCallStartOneInstance(t *testing.T) {
	driver := &fake{prepare: 20 * ms, start: 50 * ms}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if err := n.Wake(t.Context(), []functions.Ref{ref}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() { n.call(t, ref) })
		wg.Wait()
		if got := driver.counts(); got.starts != 1 || got.prepares != 1 {
			t.Errorf("got %+v, want one start of one image", got)
		}
	})
}

// TestWake_KeepsHot: the idle time counts from the latest wake too, and a woken version that nobody calls goes.
func TestWake_KeepsHot(t *testing.T) {
	driver := &fake{start: 50 * ms}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		for range 2 {
			if err := n.Wake(t.Context(), []functions.Ref{ref}, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5*time.Minute - 1)
			n.want(t, ref, Hot, 1)
		}
		time.Sleep(time.Nanosecond)
		n.want(t, ref, Parked, 0)
		if got := driver.counts().starts; got != 1 {
			t.Errorf("got %d starts, want 1", got)
		}
	})
}

func TestWake_ModelsWakeBesideFunctions(t *testing.T) {
	driver := &fake{start: 300 * ms}
	run(t, driver, nil, func(t *testing.T, n *node) {
		n.models.wake = func(ctx context.Context, ref functions.Ref) error { return sleep(ctx, 500*ms) }
		began := time.Now()
		err := n.Wake(t.Context(), []functions.Ref{n.function("speak", nil)}, []functions.Ref{{Name: "llm"}})
		if took := time.Since(began); err != nil || took != 500*ms {
			t.Errorf("got %v after %v, want both after 500ms", err, took)
		}
		n.models.wake = func(ctx context.Context, _ functions.Ref) error {
			sleep(ctx, ms)
			return fmt.Errorf("%w: no engine", functions.ErrNoDevice)
		}
		other := n.function("other", nil)
		began = time.Now()
		err = n.Wake(t.Context(), []functions.Ref{other}, []functions.Ref{{Name: "llm"}})
		if took := time.Since(began); !errors.Is(err, functions.ErrNoDevice) || took != ms {
			t.Errorf("got %v after %v, want the failure at once", err, took)
		}
		time.Sleep(300 * ms)
		n.want(t, other, Hot, 1) // what has begun goes on
	})
}

func TestWake_StartFails(t *testing.T) {
	driver := &fake{}
	driver.onStart = func(*functions.Manifest, int) error { return errors.New("no such library") }
	run(t, driver, nil, func(t *testing.T, n *node) {
		err := n.Wake(t.Context(), []functions.Ref{n.function("speak", nil)}, nil)
		if ie, ok := errors.AsType[*functions.InvokeError](err); !ok || !errors.Is(err, functions.ErrColdStart) || ie.Func != "speak" {
			t.Errorf("got %v, want an InvokeError of speak that wraps ErrColdStart", err)
		}
	})
}

// TestPrepare makes images once, starts nothing, and leaves no plugin behind.
func TestPrepare(t *testing.T) {
	driver := &fake{prepare: 200 * ms, start: time.Hour}
	run(t, driver, nil, func(t *testing.T, n *node) {
		wasm, plug := n.function("speak", nil), n.function("transcribe", plugin)
		model := functions.Ref{Name: "llm"}
		began := time.Now()
		got, err := n.Prepare(t.Context(), []functions.Ref{wasm, plug}, []functions.Ref{model})
		if err != nil {
			t.Fatal(err)
		}
		want := []Prepared{{Ref: wasm, Why: "a fake has none"}, {Ref: plug, Why: "a fake has none"}, {Ref: model}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if took := time.Since(began); took != 200*ms {
			t.Errorf("took %v, want both images side by side in 200ms", took)
		}
		n.want(t, wasm, Parked, 0)
		n.want(t, plug, Cold, 0)
		if _, err := n.Prepare(t.Context(), []functions.Ref{wasm, plug}, nil); err != nil {
			t.Fatal(err)
		}
		if c := driver.counts(); c.prepares != 2 || c.starts != 0 {
			t.Errorf("got %+v, want two images and no start", c)
		}
	})
}

func TestPrepare_JoinsWhatFails(t *testing.T) {
	driver := &fake{}
	driver.onPrepare = func(m *functions.Manifest) error {
		if m.Name == "good" {
			return nil
		}
		return fmt.Errorf("%w: not a module", functions.ErrInvalid)
	}
	run(t, driver, nil, func(t *testing.T, n *node) {
		n.models.prepare = func(context.Context, functions.Ref) error { return errors.New("not a GGUF") }
		refs := []functions.Ref{n.function("good", nil), n.function("bad", nil), n.function("worse", nil)}
		_, err := n.Prepare(t.Context(), refs, []functions.Ref{{Name: "llm"}})
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok || len(joined.Unwrap()) != 3 {
			t.Fatalf("got %v, want three errors", err)
		}
		if ie, ok := errors.AsType[*functions.InvokeError](err); !ok || ie.Func != "bad" || functions.CodeOf(err) != "invalid" {
			t.Errorf("got %v, want the name and the kind of each", err)
		}
	})
}

// TestPrepare_FailsAndLeavesNothing: what a refused deploy brought into memory goes again, unless somebody else wants it.
func TestPrepare_FailsAndLeavesNothing(t *testing.T) {
	driver := &fake{prepare: time.Second, codeBytes: 10}
	driver.onPrepare = func(m *functions.Manifest) error {
		if m.Name == "bad" {
			return fmt.Errorf("%w: not a module", functions.ErrInvalid)
		}
		return nil
	}
	run(t, driver, nil, func(t *testing.T, n *node) {
		good, bad := n.function("good", nil), n.function("bad", nil)
		called, deployed := n.function("called", nil), n.function("deployed", nil)
		shared := n.function("shared", nil)
		n.call(t, called)
		if _, err := n.Prepare(t.Context(), []functions.Ref{deployed}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)

		var wg sync.WaitGroup
		wg.Go(func() { // another deploy has one of them too, and goes on for longer
			n.models.prepare = func(ctx context.Context, ref functions.Ref) error { return sleep(ctx, time.Minute) }
			if _, err := n.Prepare(t.Context(), []functions.Ref{shared}, []functions.Ref{{Name: "llm"}}); err != nil {
				t.Error(err)
			}
		})
		if _, err := n.Prepare(t.Context(), []functions.Ref{good, bad, called, deployed, shared, {Name: "x", Digest: "x"}}, nil); !errors.Is(err, functions.ErrInvalid) {
			t.Fatalf("got %v, want ErrInvalid", err)
		}
		n.want(t, good, Cold, 0)
		n.want(t, called, Parked, 0)
		n.want(t, deployed, Parked, 0)
		n.want(t, shared, Parked, 0)
		wg.Wait()
		n.want(t, shared, Parked, 0)
		if log := n.log.String(); !strings.Contains(log, `msg="function cold" func=good`) || strings.Count(log, "reason=unwanted") != 1 {
			t.Errorf("the log does not say that good alone is unwanted:\n%s", log)
		}

		gone, cancel := context.WithCancel(t.Context())
		defer cancel()
		later := n.function("later", nil)
		wg.Go(func() {
			if _, err := n.Prepare(gone, []functions.Ref{later}, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want its end", err)
			}
		})
		synctest.Wait()
		cancel()
		time.Sleep(time.Minute) // what it had begun goes on to its end
		n.want(t, later, Cold, 0)
		wg.Wait()
		if got := n.sum(memBytes); got != 30 {
			t.Errorf("got %d bytes, want the code of three", got)
		}
		if _, err := n.Prepare(t.Context(), []functions.Ref{good}, nil); err != nil {
			t.Fatal(err)
		}
		n.want(t, good, Parked, 0)
	})
}

// TestPrepare_JoinsACall: a call on a node that lacks the image makes it, and Prepare does not make it again.
func TestPrepare_JoinsACall(t *testing.T) {
	driver := &fake{prepare: time.Second}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		var wg sync.WaitGroup
		wg.Go(func() { n.call(t, ref) })
		synctest.Wait()
		if _, err := n.Prepare(t.Context(), []functions.Ref{ref}, nil); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if got := driver.counts().prepares; got != 1 {
			t.Errorf("got %d images, want 1", got)
		}
	})
}

// TestWake_TimeLeavesOutTheDeploy: what a deploy prepared ahead is not counted as the wake of the call that comes later.
func TestWake_TimeLeavesOutTheDeploy(t *testing.T) {
	driver := &fake{prepare: 20 * time.Second, start: 50 * ms}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		if _, err := n.Prepare(t.Context(), []functions.Ref{ref}, nil); err != nil {
			t.Fatal(err)
		}
		n.call(t, ref)
		for _, s := range n.Status() {
			if s.WakeTime != 50*ms {
				t.Errorf("the wake is said to have taken %v, want 50ms", s.WakeTime)
			}
		}
	})
}

// TestWake_TimeLeavesOutReplacements: what replaces an instance that has served is no wake, and does not hide what one
// took.
func TestWake_TimeLeavesOutReplacements(t *testing.T) {
	driver := &fake{load: 40 * ms, start: 50 * ms, spent: true}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("speak", nil)
		want := func(wake time.Duration) {
			t.Helper()
			for _, s := range n.Status() {
				if s.WakeTime != wake {
					t.Errorf("the wake is said to have taken %v, want %v", s.WakeTime, wake)
				}
			}
		}
		for range 3 {
			n.call(t, ref)
			time.Sleep(time.Second)
			want(90 * ms)
		}
		for range 3 { // each waits for the next one's start: no instance is there in between
			n.call(t, ref)
			want(90 * ms)
		}
		time.Sleep(5 * time.Minute)
		n.want(t, ref, Parked, 0)
		n.call(t, ref)
		want(50 * ms)
	})
}

// TestPrepare_WithoutAnEngine: a deploy passes, with its model unavailable; any other fault of a model fails it.
func TestPrepare_WithoutAnEngine(t *testing.T) {
	run(t, &fake{}, nil, func(t *testing.T, n *node) {
		model := functions.Ref{Name: "llm"}
		for _, tt := range []struct{ says, want error }{
			{functions.ErrNoDevice, nil},
			{functions.ErrInvalid, functions.ErrInvalid},
			{functions.ErrUnavailable, functions.ErrUnavailable},
		} {
			n.models.prepare = func(context.Context, functions.Ref) error { return fmt.Errorf("model llm: %w", tt.says) }
			if _, err := n.Prepare(t.Context(), []functions.Ref{n.function("listen", nil)}, []functions.Ref{model}); !errors.Is(err, tt.want) {
				t.Errorf("the model says %v: got %v, want %v", tt.says, err, tt.want)
			}
		}
	})
}
