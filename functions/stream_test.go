package functions_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/catenary-run/catenary/functions"
	"pgregory.net/rapid"
)

// item returns an item of n bytes with the sequence number seq.
func item(seq uint64, n int) functions.Item {
	return functions.Item{Value: make([]byte, n), Seq: seq}
}

func mustSend(t *testing.T, s *functions.Stream, items ...functions.Item) {
	t.Helper()
	for _, it := range items {
		if err := s.Send(t.Context(), it); err != nil {
			t.Fatal(err)
		}
	}
}

// blocked starts f and returns what it returns, once it has; it must block first.
func blocked(t *testing.T, f func() error) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	synctest.Wait()
	select {
	case err := <-done:
		t.Fatalf("it did not block, and returned %v", err)
	default:
	}
	return done
}

func TestStream_SendBlocksWhileFull(t *testing.T) {
	for name, tc := range map[string]struct {
		maxItems int
		maxBytes int64
		fill     []functions.Item
		next     functions.Item
		takes    int // to be received before next has room
	}{
		"items":             {2, 1000, []functions.Item{item(0, 1), item(1, 1)}, item(2, 1), 1},
		"bytes":             {10, 100, []functions.Item{item(0, 30), item(1, 30)}, item(2, 80), 2},
		"bytes of blobs":    {10, 100, []functions.Item{item(0, 30)}, functions.Item{Value: []byte{1}, Blobs: []functions.Attachment{functions.Attach("a/b", make([]byte, 90))}, Seq: 1}, 1},
		"larger than all":   {10, 100, []functions.Item{item(0, 30)}, item(1, 1000), 1},
		"after a large one": {10, 100, []functions.Item{item(0, 1000)}, item(1, 1), 1},
		"default items":     {0, 0, sequence(functions.DefaultEdgeItems), item(functions.DefaultEdgeItems, 1), 1},
		"default bytes":     {0, 0, []functions.Item{item(0, functions.DefaultEdgeBytes)}, item(1, 1), 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := functions.NewStream(tc.maxItems, tc.maxBytes)
				mustSend(t, s, tc.fill...)
				sent := blocked(t, func() error { return s.Send(t.Context(), tc.next) })
				for i := range tc.takes {
					if i > 0 {
						select {
						case err := <-sent:
							t.Fatalf("it went through after %d items were taken: %v", i, err)
						default:
						}
					}
					if it, err := s.Recv(t.Context()); err != nil || it.Seq != uint64(i) {
						t.Fatalf("got item %d, %v; want %d", it.Seq, err, i)
					}
					synctest.Wait()
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// sequence returns n items of one byte.
func sequence(n int) []functions.Item {
	var all []functions.Item
	for i := range n {
		all = append(all, item(uint64(i), 1))
	}
	return all
}

func TestStream_RecvBlocksWhileEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := functions.NewStream(0, 0)
		got := blocked(t, func() error {
			it, err := s.Recv(t.Context())
			if it.Seq != 7 {
				t.Errorf("got item %d, want 7", it.Seq)
			}
			return err
		})
		mustSend(t, s, item(7, 1))
		if err := <-got; err != nil {
			t.Fatal(err)
		}
	})
}

func TestStream_CloseSendDeliversWhatWasSent(t *testing.T) {
	errWriter := errors.New("writer failed")
	for name, tc := range map[string]struct{ cause, want error }{"end": {nil, io.EOF}, "failure": {errWriter, errWriter}} {
		t.Run(name, func(t *testing.T) {
			s := functions.NewStream(0, 0)
			mustSend(t, s, sequence(2)...)
			s.CloseSend(tc.cause)
			s.CloseSend(errors.New("the first call counts"))
			if err := s.Send(t.Context(), item(2, 1)); !errors.Is(err, functions.ErrClosed) {
				t.Errorf("Send after CloseSend: got %v, want %v", err, functions.ErrClosed)
			}
			got, err := functions.Collect(t.Context(), s)
			if tc.cause == nil && err != nil || tc.cause != nil && !errors.Is(err, tc.want) || len(got) != 2 {
				t.Errorf("got %d items, %v; want 2, %v", len(got), err, tc.want)
			}
			if _, err := s.Recv(t.Context()); !errors.Is(err, tc.want) {
				t.Errorf("Recv again: got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestStream_CloseRecvFreesTheWriter(t *testing.T) {
	errReader := errors.New("reader gone")
	for name, tc := range map[string]struct{ cause, want error }{"no reason": {nil, functions.ErrClosed}, "reason": {errReader, errReader}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := functions.NewStream(1, 0)
				mustSend(t, s, item(0, 1))
				sent := blocked(t, func() error { return s.Send(t.Context(), item(1, 1)) })
				s.CloseRecv(tc.cause)
				s.CloseRecv(errors.New("the first call counts"))
				if err := <-sent; !errors.Is(err, tc.want) {
					t.Errorf("the blocked Send: got %v, want %v", err, tc.want)
				}
				if err := s.Send(t.Context(), item(2, 1)); !errors.Is(err, tc.want) {
					t.Errorf("Send: got %v, want %v", err, tc.want)
				}
				if _, err := s.Recv(t.Context()); !errors.Is(err, tc.want) {
					t.Errorf("Recv: got %v, want %v", err, tc.want)
				}
			})
		})
	}
}

func TestStream_CloseSendFreesTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := functions.NewStream(0, 0)
		got := blocked(t, func() error { _, err := s.Recv(t.Context()); return err })
		s.CloseSend(nil)
		if err := <-got; !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want io.EOF", err)
		}
	})
}

func TestStream_EndsWithTheCauseOfTheContext(t *testing.T) {
	errGone := errors.New("caller gone")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		empty, full := functions.NewStream(1, 0), functions.NewStream(1, 0)
		mustSend(t, full, item(0, 1))
		received := blocked(t, func() error { _, err := empty.Recv(ctx); return err })
		sent := blocked(t, func() error { return full.Send(ctx, item(1, 1)) })
		cancel(errGone)
		for what, err := range map[string]error{
			"blocked Recv": <-received, "blocked Send": <-sent, "Send with room": empty.Send(ctx, item(0, 1)),
		} {
			if !errors.Is(err, errGone) {
				t.Errorf("%s: got %v, want %v", what, err, errGone)
			}
		}
		if _, err := full.Recv(ctx); !errors.Is(err, errGone) {
			t.Errorf("Recv of what is there: got %v, want %v", err, errGone)
		}
		if it, err := full.Recv(t.Context()); err != nil || it.Seq != 0 {
			t.Errorf("by another context: got %d, %v; the item should be there still", it.Seq, err)
		}
	})
}

// TestStream_IsABoundedQueue runs a stream beside the plainest model of one: a slice and its sums.
func TestStream_IsABoundedQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxItems, maxBytes := rapid.IntRange(1, 5).Draw(t, "items"), rapid.Int64Range(1, 50).Draw(t, "bytes")
		s := functions.NewStream(maxItems, maxBytes)
		var held []functions.Item
		var bytes int64
		next := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				it := item(next, rapid.IntRange(1, 80).Draw(t, "size"))
				if len(held) > 0 && (len(held) == maxItems || bytes+it.Size() > maxBytes) {
					t.Skip("full: it would block")
				}
				if err := s.Send(context.Background(), it); err != nil {
					t.Fatal(err)
				}
				next++
				held, bytes = append(held, it), bytes+it.Size()
			},
			"receive": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip("empty: it would block")
				}
				it, err := s.Recv(context.Background())
				if err != nil || it.Seq != held[0].Seq {
					t.Fatalf("got item %d, %v; want %d", it.Seq, err, held[0].Seq)
				}
				held, bytes = held[1:], bytes-it.Size()
			},
		})
	})
}

func TestStream_PassesAllInOrderBetweenGoroutines(t *testing.T) {
	const n = 5000
	s := functions.NewStream(3, 0)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range uint64(n) {
			if err := s.Send(t.Context(), item(i, 1)); err != nil {
				t.Error(err)
				return
			}
		}
		s.CloseSend(nil)
	})
	got, err := functions.Collect(t.Context(), s)
	wg.Wait()
	if err != nil || len(got) != n {
		t.Fatalf("got %d items, %v; want %d", len(got), err, n)
	}
	for i, it := range got {
		if it.Seq != uint64(i) {
			t.Fatalf("item %d has number %d", i, it.Seq)
		}
	}
}

func TestItems(t *testing.T) {
	src := functions.Items(sequence(3)...)
	got, err := functions.Collect(t.Context(), src)
	if err != nil || len(got) != 3 || got[2].Seq != 2 {
		t.Errorf("got %v, %v; want 3 items", got, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	errGone := errors.New("gone")
	cancel(errGone)
	if _, err := functions.Items(sequence(3)...).Recv(ctx); !errors.Is(err, errGone) {
		t.Errorf("got %v, want %v", err, errGone)
	}
}

func BenchmarkStream(b *testing.B) {
	s := functions.NewStream(0, 0)
	it := item(0, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if _, err := s.Recv(context.Background()); err != nil {
				return
			}
		}
	})
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Send(context.Background(), it); err != nil {
			b.Fatal(err)
		}
	}
	s.CloseSend(nil)
	wg.Wait()
}
