package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/sandboxtest/fixture"
	"github.com/google/go-cmp/cmp"
)

func (s *suite) testEcho(t *testing.T, code sandbox.Code) {
	items, err := call(t, code, &host{}, fixture.In{Do: fixture.Echo, Text: "héllo", N: -7})
	if err != nil {
		t.Fatal(err)
	}
	if len(items) != 1 {
		t.Fatalf("%d items, want 1", len(items))
	}
	if diff := cmp.Diff(fixture.Out{Text: "héllo", N: -7}, decode(t, items[0])); diff != "" {
		t.Error(diff)
	}
}

func (s *suite) testEchoBlob(t *testing.T, code sandbox.Code) {
	for _, size := range []int{0, 1, 100_000, 3 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(i * i >> 3)
			}
			want := make([]byte, size)
			for i, b := range data {
				want[size-1-i] = b
			}
			att := functions.Attach("audio/x-test", data)
			items, err := call(t, code, &host{}, fixture.In{Do: fixture.Echo, Blob: &att.Blob}, att)
			if err != nil {
				t.Fatal(err)
			}
			if len(items) != 1 || len(items[0].Blobs) != 1 {
				t.Fatalf("%d items, want one with one blob", len(items))
			}
			got := items[0].Blobs[0]
			if diff := cmp.Diff(functions.Attach("audio/x-test", want).Blob, got.Blob); diff != "" {
				t.Error(diff)
			}
			if functions.DigestOf(got.Data) != got.Digest {
				t.Error("the blob's bytes are not those of its digest")
			}
			if ref := decode(t, items[0]).Blob; ref == nil || *ref != got.Blob {
				t.Errorf("the value refers to %v, the item carries %v", ref, got.Blob)
			}
		})
	}
}

func (s *suite) testMissingBlob(t *testing.T, code sandbox.Code) {
	att := functions.Attach("text/plain", []byte("not sent"))
	if _, err := call(t, code, &host{}, fixture.In{Do: fixture.Echo, Blob: &att.Blob}); err == nil {
		t.Error("a blob that does not travel with the input was read")
	}
}

func (s *suite) testStream(t *testing.T, code sandbox.Code) {
	const n = 500
	items, err := call(t, code, &host{}, fixture.In{Do: fixture.Count, N: n, Bytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	if len(items) != n {
		t.Fatalf("%d items, want %d", len(items), n)
	}
	for i, it := range items {
		if out := decode(t, it); out.N != i || it.Seq != uint64(i) {
			t.Fatalf("item %d has number %d and sequence number %d", i, out.N, it.Seq)
		}
	}
}

// testBackPressure holds the reader and looks how far the function got meanwhile.
func (s *suite) testBackPressure(t *testing.T, code sandbox.Code) {
	const n = 200
	h := &host{}
	accepted := 0
	err := start(t, code).Serve(t.Context(), input(t, fixture.In{Do: fixture.Count, N: n, Bytes: 64 << 10}),
		functions.SinkFunc(func(context.Context, functions.Item) error {
			if accepted == 3 {
				time.Sleep(300 * time.Millisecond) // time to run ahead, for a function that nobody holds
			}
			if sent, _ := h.count(fixture.SentLine); sent > accepted+s.Ahead {
				return fmt.Errorf("the function has sent %d items when %d were accepted", sent, accepted)
			}
			accepted++
			return nil
		}), h)
	if err != nil {
		t.Fatal(err)
	}
	if accepted != n {
		t.Errorf("%d items, want %d", accepted, n)
	}
}

func (s *suite) testSinkFails(t *testing.T, code sandbox.Code) {
	gone := errors.New("reader is gone")
	err := start(t, code).Serve(t.Context(), input(t, fixture.In{Do: fixture.Count, N: 10_000}),
		functions.SinkFunc(func(_ context.Context, it functions.Item) error {
			if it.Seq == 2 {
				return gone
			}
			return nil
		}), &host{})
	if !errors.Is(err, gone) {
		t.Errorf("got %v, want the sink's own error", err)
	}
}

func (s *suite) testEmpty(t *testing.T, code sandbox.Code) {
	items, err := call(t, code, &host{}, fixture.In{Do: fixture.Empty})
	if err != nil || len(items) != 0 {
		t.Errorf("got %d items and error %v, want none", len(items), err)
	}
}

func (s *suite) testNoInput(t *testing.T, code sandbox.Code) {
	err := start(t, code).Serve(t.Context(), functions.Items(), discard, &host{})
	if !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("got %v, want functions.ErrInvalid", err)
	}
}

func (s *suite) testSourceFails(t *testing.T, code sandbox.Code) {
	broken := errors.New("writer failed")
	in := functions.NewStream(1, 0)
	in.CloseSend(broken)
	if err := start(t, code).Serve(t.Context(), in, discard, &host{}); !errors.Is(err, broken) {
		t.Errorf("got %v, want the source's own error", err)
	}
}

var discard = functions.SinkFunc(func(context.Context, functions.Item) error { return nil })

func (s *suite) testFailures(t *testing.T, code sandbox.Code) {
	for _, test := range []struct {
		name  string
		in    fixture.In
		want  error
		text  string
		items int
	}{
		{"error", fixture.In{Do: fixture.Fail, Text: "the moon is full"}, functions.ErrFunction, "the moon is full", 0},
		{"error after items", fixture.In{Do: fixture.FailLate, N: 3, Text: "tired"}, functions.ErrFunction, "tired", 3},
		{"invalid input", fixture.In{Do: fixture.Invalid, Text: "beige"}, functions.ErrInvalid, "beige", 0},
		{"unknown behaviour", fixture.In{Do: "dance"}, functions.ErrInvalid, "dance", 0},
		{"crash", fixture.In{Do: fixture.Crash, Text: "boom"}, functions.ErrTrap, "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			items, err := call(t, code, &host{}, test.in)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %v with the text %q", err, test.want, test.text)
			}
			if functions.CodeOf(err) != functions.CodeOf(test.want) {
				t.Errorf("code %s, want %s", functions.CodeOf(err), functions.CodeOf(test.want))
			}
			if len(items) != test.items {
				t.Errorf("%d items came before the failure, want %d", len(items), test.items)
			}
		})
	}
	t.Run("garbage", func(t *testing.T) {
		err := start(t, code).Serve(t.Context(), functions.Items(functions.Item{Value: []byte{0xff, 0xff}}), discard, &host{})
		if !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("got %v, want functions.ErrInvalid", err)
		}
	})
}

// blocked returns, by name, calls that never end by themselves.
func blocked(t *testing.T) map[string]func(context.Context, sandbox.Instance, func()) error {
	serve := func(in fixture.In) func(context.Context, sandbox.Instance, func()) error {
		return func(ctx context.Context, inst sandbox.Instance, busy func()) error {
			src := input(t, in)
			return inst.Serve(ctx, sourceFunc(func(ctx context.Context) (functions.Item, error) {
				defer busy()
				return src.Recv(ctx)
			}), discard, &host{})
		}
	}
	return map[string]func(context.Context, sandbox.Instance, func()) error{
		"computing": serve(fixture.In{Do: fixture.Spin}),
		"sleeping":  serve(fixture.In{Do: fixture.Sleep}),
		"receiving": func(ctx context.Context, inst sandbox.Instance, busy func()) error {
			in := functions.NewStream(1, 0)
			return inst.Serve(ctx, sourceFunc(func(ctx context.Context) (functions.Item, error) {
				busy()
				return in.Recv(ctx)
			}), discard, &host{})
		},
		"sending": func(ctx context.Context, inst sandbox.Instance, busy func()) error {
			out := functions.NewStream(1, 0)
			return inst.Serve(ctx, input(t, fixture.In{Do: fixture.Count, N: 1 << 30, Bytes: 64 << 10}),
				functions.SinkFunc(func(ctx context.Context, it functions.Item) error {
					if it.Seq == 1 {
						busy()
					}
					return out.Send(ctx, it)
				}), &host{})
		},
	}
}

type sourceFunc func(context.Context) (functions.Item, error)

func (f sourceFunc) Recv(ctx context.Context) (functions.Item, error) { return f(ctx) }

func (s *suite) testCancel(t *testing.T, code sandbox.Code) {
	for name, serve := range blocked(t) {
		t.Run(name, func(t *testing.T) {
			why := errors.New("the caller hung up")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			var once sync.Once
			err := serve(ctx, start(t, code), func() { once.Do(func() { go cancel(why) }) })
			if !errors.Is(err, why) {
				t.Errorf("got %v, want the cause of the context", err)
			}
		})
	}
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := serve(t, ctx, start(t, code), &host{}, fixture.In{Do: fixture.Spin}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want context.DeadlineExceeded", err)
		}
	})
	t.Run("before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := serve(t, ctx, start(t, code), &host{}, fixture.In{Do: fixture.Spin}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	})
}

func (s *suite) testClose(t *testing.T, code sandbox.Code) {
	for name, serve := range blocked(t) {
		t.Run(name, func(t *testing.T) {
			inst := start(t, code)
			var once sync.Once
			var closing sync.WaitGroup
			err := serve(t.Context(), inst, func() {
				once.Do(func() {
					closing.Go(func() {
						if err := inst.Close(); err != nil {
							t.Errorf("close: %v", err)
						}
					})
				})
			})
			closing.Wait()
			if !errors.Is(err, functions.ErrClosed) {
				t.Errorf("got %v, want functions.ErrClosed", err)
			}
			if err := inst.Close(); err != nil {
				t.Errorf("second close: %v", err)
			}
			if _, err := serveClosed(t, inst); !errors.Is(err, functions.ErrClosed) {
				t.Errorf("a call after close: got %v, want functions.ErrClosed", err)
			}
		})
	}
}

func serveClosed(t *testing.T, inst sandbox.Instance) ([]functions.Item, error) {
	return serve(t, t.Context(), inst, &host{}, fixture.In{Do: fixture.Echo})
}

func (s *suite) testLog(t *testing.T, code sandbox.Code) {
	h := &host{}
	inst := start(t, code)
	if _, err := serve(t, t.Context(), inst, h, fixture.In{Do: fixture.Log, Text: "tea is ready"}); err != nil {
		t.Fatal(err)
	}
	if s.LateLogs {
		if err := inst.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"tea is ready", "out tea is ready", "err tea is ready"} {
		if n, _ := h.count(text); n == 0 {
			t.Errorf("the line %q did not reach the host: %v", text, h.lines)
		}
	}
	if n, _ := h.count("tea is ready"); n != 3 {
		t.Errorf("%d lines, want 3", n)
	}
	warned := false
	for _, l := range h.lines {
		warned = warned || l == line{slog.LevelWarn, "tea is ready"}
	}
	if !warned {
		t.Errorf("no line at level warn in %v", h.lines)
	}
}

func (s *suite) testUndeclared(t *testing.T, code sandbox.Code) {
	h := &host{}
	_, err := call(t, code, h, fixture.In{Do: fixture.Generate, Model: "llm", Text: "hi"})
	if err == nil || s.Generate && !errors.Is(err, functions.ErrDenied) {
		t.Errorf("got %v, want functions.ErrDenied", err)
	}
}
