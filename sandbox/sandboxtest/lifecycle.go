package sandboxtest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/sandboxtest/fixture"
	"github.com/google/go-cmp/cmp"
)

// testReset holds an instance to its word: after a Reset without error it serves the next call as a fresh one would,
// whatever the last call did. One that was made from an image remembers nothing.
func (s *suite) testReset(t *testing.T, code sandbox.Code) {
	base := warmUps(t, code)
	att := functions.Attach("text/plain", []byte("of an earlier call"))
	for _, test := range []struct {
		name  string
		in    fixture.In
		blobs []functions.Attachment
		leave int // the caller goes away when it has so many items; 0 if it stays
	}{
		{name: "unary", in: fixture.In{Do: fixture.Echo, Text: "hello"}},
		{name: "blob", in: fixture.In{Do: fixture.Echo, Blob: &att.Blob}, blobs: []functions.Attachment{att}},
		{name: "stream", in: fixture.In{Do: fixture.Count, N: 100, Bytes: 1000}},
		{name: "stream that nobody reads to its end", in: fixture.In{Do: fixture.Count, N: 1 << 30, Bytes: 1000}, leave: 3},
		{name: "empty", in: fixture.In{Do: fixture.Empty}},
		{name: "failure", in: fixture.In{Do: fixture.Fail, Text: "no"}},
		{name: "failure after items", in: fixture.In{Do: fixture.FailLate, N: 3, Text: "no"}},
		{name: "log", in: fixture.In{Do: fixture.Log, Text: "line"}},
		{name: "crash", in: fixture.In{Do: fixture.Crash, Text: "boom"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inst := start(t, code)
			for range 3 {
				ctx, cancel := context.WithCancel(t.Context())
				got := 0
				sink := functions.SinkFunc(func(context.Context, functions.Item) error {
					if got++; got == test.leave {
						cancel()
					}
					return nil
				})
				err := inst.Serve(ctx, input(t, test.in, test.blobs...), sink, &host{})
				cancel()
				if test.leave > 0 && !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want context.Canceled", err)
				}
				if !reset(t, inst) {
					return
				}
				h := &host{}
				items, err := serve(t, t.Context(), inst, h, fixture.In{Do: fixture.Remember})
				if err != nil || len(items) != 1 || items[0].Seq != 0 {
					t.Fatalf("the call after it: items %v, error %v", items, err)
				}
				if n := decode(t, items[0]).N; s.Captured && n != base+1 {
					t.Errorf("it remembers %d calls, a fresh one %d", n, base+1)
				}
				if !s.LateLogs && len(h.lines) > 0 {
					t.Errorf("the call after it logs %v", h.lines)
				}
				if !reset(t, inst) {
					return
				}
				if _, err := serve(t, t.Context(), inst, &host{}, fixture.In{Do: fixture.Echo, Blob: &att.Blob}); err == nil {
					t.Error("the blob of an earlier call was read")
				}
				if !reset(t, inst) {
					return
				}
			}
		})
	}
}

// reset resets an instance and reports whether it can serve on.
func reset(t *testing.T, inst sandbox.Instance) bool {
	t.Helper()
	err := inst.Reset(t.Context())
	if err != nil && !errors.Is(err, sandbox.ErrSpent) {
		t.Fatalf("reset: %v", err)
	}
	return err == nil
}

// testResetUnused resets what has served nothing, and what is closed.
func (s *suite) testResetUnused(t *testing.T, code sandbox.Code) {
	inst := start(t, code)
	for range 2 {
		if !reset(t, inst) {
			t.Fatal("a fresh instance is spent")
		}
	}
	if _, err := serve(t, t.Context(), inst, &host{}, fixture.In{Do: fixture.Echo}); err != nil {
		t.Error(err)
	}
	if err := inst.Close(); err != nil {
		t.Fatal(err)
	}
	if err := inst.Reset(t.Context()); err == nil {
		t.Error("a closed instance was reset")
	}
}

// warmUps returns how many calls a fresh instance remembers from before it was captured.
func warmUps(t *testing.T, code sandbox.Code) int {
	t.Helper()
	items, err := call(t, code, &host{}, fixture.In{Do: fixture.Remember})
	if err != nil || len(items) != 1 {
		t.Fatalf("%d items, error %v", len(items), err)
	}
	return decode(t, items[0]).N - 1
}

// testMany starts instances side by side: each has its own name, state and answer.
func (s *suite) testMany(t *testing.T, code sandbox.Code) {
	const n = 8
	base := warmUps(t, code)
	var mu sync.Mutex
	ids := map[string]bool{}
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			inst, err := code.New(t.Context())
			if err != nil {
				t.Errorf("new instance: %v", err)
				return
			}
			defer inst.Close()
			items, err := serve(t, t.Context(), inst, &host{}, fixture.In{Do: fixture.Remember})
			if err != nil || len(items) != 1 {
				t.Errorf("%d items, error %v", len(items), err)
				return
			}
			if got := decode(t, items[0]).N; got != base+1 {
				t.Errorf("an instance remembers %d calls, want %d", got, base+1)
			}
			if inst.MemBytes() < 0 {
				t.Errorf("memory %d", inst.MemBytes())
			}
			mu.Lock()
			defer mu.Unlock()
			ids[inst.ID()] = true
		})
	}
	all.Wait()
	if len(ids) != n || ids[""] {
		t.Errorf("%d different names for %d instances", len(ids), n)
	}
}

func (s *suite) testPrepare(t *testing.T) {
	garbage, digest := scratchFile(t, []byte("this is no program"))
	for _, test := range []struct {
		name     string
		artifact string
		digest   functions.Digest
		want     []error // any of them
	}{
		{"wrong digest", s.artifact, digest, []error{functions.ErrInvalid}},
		{"garbage", garbage, digest, []error{functions.ErrInvalid, functions.ErrColdStart}},
		{"no file", garbage + ".missing", digest, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := s.manifest
			m.Artifact = test.digest
			_, err := s.driver.Prepare(t.Context(), &m, test.artifact)
			if err == nil {
				t.Fatal("prepared")
			}
			ok := test.want == nil
			for _, want := range test.want {
				ok = ok || errors.Is(err, want)
			}
			if !ok {
				t.Errorf("got %v, want one of %v", err, test.want)
			}
		})
	}
	t.Run("twice", func(t *testing.T) {
		first, err := s.driver.Prepare(t.Context(), &s.manifest, s.artifact)
		if err != nil {
			t.Fatal(err)
		}
		second, err := s.driver.Prepare(t.Context(), &s.manifest, s.artifact)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Error(diff)
		}
	})
}

func (s *suite) testTimeLimit(t *testing.T) {
	code := s.load(t, func(m *functions.Manifest) { m.Limits.Time = 100 * time.Millisecond })
	t.Cleanup(func() { code.Close() })
	for _, do := range []string{fixture.Spin, fixture.Sleep, fixture.Until} {
		t.Run(do, func(t *testing.T) {
			_, err := call(t, code, &host{}, fixture.In{Do: do})
			if !errors.Is(err, functions.ErrTimeLimit) || functions.CodeOf(err) != functions.CodeOf(functions.ErrTimeLimit) {
				t.Errorf("got %v, want functions.ErrTimeLimit", err)
			}
		})
	}
}

// testTimeLeft: a function can ask how long it may take, by its own limit and by those of others.
func (s *suite) testTimeLeft(t *testing.T) {
	code := s.load(t, func(m *functions.Manifest) { m.Limits.Time = 40 * time.Second })
	t.Cleanup(func() { code.Close() })
	deadline, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	step, _, stop := functions.WithAllowance(t.Context(), 10*time.Second, functions.ErrTimeLimit)
	defer stop()
	for most, ctx := range map[int]context.Context{40_000: t.Context(), 20_000: deadline, 10_000: step, 5_000: functions.WithTimeLeft(step, 5*time.Second)} {
		items, err := serve(t, ctx, start(t, code), &host{}, fixture.In{Do: fixture.Left})
		if err != nil || len(items) != 1 {
			t.Fatalf("%d items, error %v", len(items), err)
		}
		if got := decode(t, items[0]).N; got > most || got < most/2 {
			t.Errorf("the function has %d ms, want up to %d", got, most)
		}
	}
}

// testTimeLimitOfReader: a reader that takes its time is no fault of the function's.
func (s *suite) testTimeLimitOfReader(t *testing.T) {
	code := s.load(t, func(m *functions.Manifest) { m.Limits.Time = time.Second })
	t.Cleanup(func() { code.Close() })
	slow := functions.SinkFunc(func(context.Context, functions.Item) error {
		time.Sleep(1500 * time.Millisecond) // longer than the limit
		return nil
	})
	if err := start(t, code).Serve(t.Context(), input(t, fixture.In{Do: fixture.Echo}), slow, &host{}); err != nil {
		t.Errorf("got %v", err)
	}
}

func (s *suite) testOutputLimit(t *testing.T) {
	code := s.load(t, func(m *functions.Manifest) { m.Limits.OutBytes = 1 << 20 })
	t.Cleanup(func() { code.Close() })
	for _, test := range []struct {
		name  string
		in    fixture.In
		items int
		want  error
	}{
		{"many items within", fixture.In{Do: fixture.Count, N: 9, Bytes: 100_000}, 9, nil},
		{"many items beyond", fixture.In{Do: fixture.Count, N: 100, Bytes: 100_000}, 10, functions.ErrOutputLimit},
		{"one item beyond", fixture.In{Do: fixture.Count, N: 1, Bytes: 2 << 20}, 0, functions.ErrOutputLimit},
		{"blob within", fixture.In{Do: fixture.Blob, Bytes: 1_000_000}, 1, nil},
		{"blob beyond", fixture.In{Do: fixture.Blob, Bytes: 2 << 20}, 0, functions.ErrOutputLimit},
	} {
		t.Run(test.name, func(t *testing.T) {
			items, err := call(t, code, &host{}, test.in)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if len(items) != test.items {
				t.Errorf("%d items, want %d", len(items), test.items)
			}
		})
	}
}

func (s *suite) testMemoryLimit(t *testing.T) {
	code := s.load(t, func(m *functions.Manifest) { m.Limits.MemBytes = s.MemBytes })
	t.Cleanup(func() { code.Close() })
	if _, err := call(t, code, &host{}, fixture.In{Do: fixture.Echo}); err != nil {
		t.Fatalf("within the limit: %v", err)
	}
	_, err := call(t, code, &host{}, fixture.In{Do: fixture.Grow})
	if !errors.Is(err, functions.ErrMemoryLimit) || functions.CodeOf(err) != functions.CodeOf(functions.ErrMemoryLimit) {
		t.Errorf("got %v, want functions.ErrMemoryLimit", err)
	}
}

func (s *suite) testGenerate(t *testing.T) {
	code := s.load(t, func(m *functions.Manifest) { m.Uses.Models = []string{"llm"} })
	t.Cleanup(func() { code.Close() })
	h := &host{models: []string{"llm"}, answers: []functions.Token{{Text: "to"}, {Text: ""}, {Text: "kens", Finish: "stop"}}}
	items, err := call(t, code, h, fixture.In{Do: fixture.Generate, Model: "llm", Text: "hi", N: 12})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, it := range items {
		got = append(got, decode(t, it).Text)
	}
	if diff := cmp.Diff([]string{"to", "", "kensstop"}, got); diff != "" {
		t.Error(diff)
	}
	want := []functions.Generation{{Messages: []functions.Message{{Role: "user", Content: "hi"}}, MaxTokens: 12}}
	if diff := cmp.Diff(want, h.requests); diff != "" {
		t.Error(diff)
	}
	if h.open != 0 {
		t.Errorf("%d token streams were left open", h.open)
	}
	if _, err := call(t, code, h, fixture.In{Do: fixture.Generate, Model: "other"}); !errors.Is(err, functions.ErrDenied) {
		t.Errorf("another model: got %v, want functions.ErrDenied", err)
	}
}
