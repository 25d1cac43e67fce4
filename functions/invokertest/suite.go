package invokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/google/go-cmp/cmp"
)

func testEcho(t *testing.T, factory Factory) {
	inv, ref := serve(t, factory, echo)
	want := text("hello")
	want.Seq, want.Turn, want.Time = 3, 2, time.Unix(1, 5)
	got, _, err := call(t.Context(), inv, ref, want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, []functions.Item{want}); diff != "" {
		t.Errorf("got (-) want (+):\n%s", diff)
	}
}

func testStream(t *testing.T, factory Factory) {
	const n = 1000
	inv, ref := serve(t, factory, func(ctx context.Context, _ functions.Source, out functions.Sink) error {
		for i := range n {
			if err := out.Send(ctx, functions.Item{Value: []byte{0x19, byte(i >> 8), byte(i)}, Seq: uint64(i)}); err != nil {
				return err
			}
		}
		return nil
	})
	got, _, err := call(t.Context(), inv, ref)
	if err != nil || len(got) != n {
		t.Fatalf("%d items and error %v, want %d and none", len(got), err, n)
	}
	for i, it := range got {
		if it.Seq != uint64(i) || !bytes.Equal(it.Value, []byte{0x19, byte(i >> 8), byte(i)}) {
			t.Fatalf("item %d is %v", i, it)
		}
	}
}

func testManyIn(t *testing.T, factory Factory) {
	inv, ref := serve(t, factory, echo)
	var want []functions.Item
	for i := range 100 {
		want = append(want, text(fmt.Sprint(i)))
	}
	got, _, err := call(t.Context(), inv, ref, want...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("got (-) want (+):\n%s", diff)
	}
}

func testBlobs(t *testing.T, factory Factory) {
	inv, ref := serve(t, factory, echo)
	big := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	want := text("with blobs")
	want.Blobs = []functions.Attachment{functions.Attach("audio/wav", big), functions.Attach("text/plain", []byte{})}
	got, _, err := call(t.Context(), inv, ref, want)
	if err != nil || len(got) != 1 || len(got[0].Blobs) != 2 {
		t.Fatalf("%d items and error %v, want one with two blobs", len(got), err)
	}
	for i, b := range got[0].Blobs {
		if b.Blob != want.Blobs[i].Blob || !bytes.Equal(b.Data, want.Blobs[i].Data) {
			t.Errorf("blob %d is %v with %d bytes, want %v", i, b.Blob, len(b.Data), want.Blobs[i].Blob)
		}
	}
}

// sentinels are all that a function can fail with.
var sentinels = []error{
	functions.ErrInvalid, functions.ErrNotFound, functions.ErrExists, functions.ErrConflict, functions.ErrDenied,
	functions.ErrQueueFull, functions.ErrMemoryLimit, functions.ErrOutputLimit, functions.ErrTimeLimit, functions.ErrIdleLimit,
	functions.ErrColdStart, functions.ErrNoDevice, functions.ErrUnavailable, functions.ErrTrap, functions.ErrFunction,
	functions.ErrClosed, functions.ErrInterrupted, context.DeadlineExceeded, context.Canceled,
}

func testErrors(t *testing.T, factory Factory) {
	var fail atomic.Pointer[error]
	inv, ref := serve(t, factory, func(context.Context, functions.Source, functions.Sink) error { return *fail.Load() })
	for _, want := range append(sentinels, errors.New("no sentinel")) {
		t.Run(strings.ReplaceAll(want.Error(), " ", "-"), func(t *testing.T) {
			err := fmt.Errorf("%w: because of this", want)
			fail.Store(&err)
			_, _, got := call(t.Context(), inv, ref)
			if got == nil {
				t.Fatal("no error")
			}
			if functions.CodeOf(got) != functions.CodeOf(want) || functions.Retryable(got) != functions.Retryable(want) {
				t.Errorf("code %q, retryable %v; want %q, %v", functions.CodeOf(got), functions.Retryable(got), functions.CodeOf(want), functions.Retryable(want))
			}
			for _, s := range sentinels {
				if errors.Is(got, s) != errors.Is(want, s) {
					t.Errorf("errors.Is(%v, %v) = %v", got, s, errors.Is(got, s))
				}
			}
			if !strings.Contains(got.Error(), "because of this") {
				t.Errorf("the text of the function is gone: %v", got)
			}
		})
	}
}

func testErrorAfterItems(t *testing.T, factory Factory) {
	inv, ref := serve(t, factory, func(ctx context.Context, _ functions.Source, out functions.Sink) error {
		for range 5 {
			if err := out.Send(ctx, text("item")); err != nil {
				return err
			}
		}
		return fmt.Errorf("%w: after five", functions.ErrFunction)
	})
	got, _, err := call(t.Context(), inv, ref)
	if len(got) != 5 || !errors.Is(err, functions.ErrFunction) {
		t.Errorf("%d items and error %v, want 5 and %v", len(got), err, functions.ErrFunction)
	}
}

type failingSource struct{ err error }

func (s failingSource) Recv(context.Context) (functions.Item, error) { return functions.Item{}, s.err }

func testSourceFails(t *testing.T, factory Factory) {
	inv, ref := serve(t, factory, echo)
	_, err := inv.Invoke(t.Context(), functions.Call{Ref: ref}, failingSource{fmt.Errorf("%w: of the writer", functions.ErrMemoryLimit)},
		functions.SinkFunc(func(context.Context, functions.Item) error { return nil }))
	if !errors.Is(err, functions.ErrMemoryLimit) || !strings.Contains(err.Error(), "of the writer") {
		t.Errorf("got %v, want the writer's error", err)
	}
}

func testSinkFails(t *testing.T, factory Factory) {
	ended := make(chan error, 1)
	inv, ref := serve(t, factory, func(ctx context.Context, _ functions.Source, out functions.Sink) error {
		var err error
		for err == nil { // it is told sooner or later
			err = out.Send(ctx, functions.Item{Value: make([]byte, 1<<10)})
		}
		ended <- err
		return err
	})
	broken := errors.New("the reader is gone")
	_, err := inv.Invoke(t.Context(), functions.Call{Ref: ref}, functions.Items(), functions.SinkFunc(func(context.Context, functions.Item) error { return broken }))
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the reader's reason", err)
	}
	<-ended
}

// maxAhead is how much a function may send that its caller has not taken: the bound of an edge, and what a connection
// between processes buffers.
const maxAhead = 24 << 20

func testBackPressureOut(t *testing.T, factory Factory) {
	const size, items = 64 << 10, 4 * maxAhead / (64 << 10)
	var sent atomic.Int64
	inv, ref := serve(t, factory, func(ctx context.Context, _ functions.Source, out functions.Sink) error {
		value := make([]byte, size)
		for range items {
			if err := out.Send(ctx, functions.Item{Value: value}); err != nil {
				return err
			}
			sent.Add(1)
		}
		return nil
	})
	taken := 0
	_, err := inv.Invoke(t.Context(), functions.Call{Ref: ref}, functions.Items(), functions.SinkFunc(func(context.Context, functions.Item) error {
		if taken++; taken == 1 {
			settle(&sent)
			if n := sent.Load(); n > maxAhead/size {
				t.Errorf("the function has sent %d items of %d KiB and its caller has taken none", n, size>>10)
			}
		}
		return nil
	}))
	if err != nil || taken != items {
		t.Errorf("%d items and error %v, want %d", taken, err, items)
	}
}

// settle returns when n has stopped growing. If it returns too soon a fault may go unseen, but none is invented.
func settle(n *atomic.Int64) {
	for same, last := 0, int64(-1); same < 50; same++ {
		time.Sleep(time.Millisecond)
		if now := n.Load(); now != last {
			same, last = 0, now
		}
	}
}

type countingSource struct {
	value []byte
	n     *atomic.Int64
}

func (s countingSource) Recv(ctx context.Context) (functions.Item, error) {
	if ctx.Err() != nil {
		return functions.Item{}, context.Cause(ctx)
	}
	s.n.Add(1)
	return functions.Item{Value: s.value}, nil
}

func testBackPressureIn(t *testing.T, factory Factory) {
	const size = 64 << 10
	var given atomic.Int64
	inv, ref := serve(t, factory, func(ctx context.Context, in functions.Source, _ functions.Sink) error {
		if _, err := in.Recv(ctx); err != nil {
			return err
		}
		settle(&given)
		if n := given.Load(); n > maxAhead/size {
			return fmt.Errorf("the source has given %d items of %d KiB, and the function has taken one", n, size>>10)
		}
		return nil // with the source still open
	})
	_, err := inv.Invoke(t.Context(), functions.Call{Ref: ref}, countingSource{make([]byte, size), &given},
		functions.SinkFunc(func(context.Context, functions.Item) error { return nil }))
	if err != nil {
		t.Error(err)
	}
}

// waiting blocks until its context ends.
func waiting(begun chan<- struct{}, ended chan<- error) func(context.Context, functions.Source, functions.Sink) error {
	return func(ctx context.Context, _ functions.Source, _ functions.Sink) error {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return context.Cause(ctx)
	}
}

func testCancel(t *testing.T, factory Factory) {
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	inv, ref := serve(t, factory, waiting(begun, ended))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the run was given up")
	var caller sync.WaitGroup
	caller.Go(func() {
		<-begun
		cancel(why)
	})
	open := functions.NewStream(0, 0) // an input that never ends does not hold it up
	_, err := inv.Invoke(ctx, functions.Call{Ref: ref}, open, functions.SinkFunc(func(context.Context, functions.Item) error { return nil }))
	caller.Wait()
	if !errors.Is(err, why) && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cause", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the function saw %v, want %v", err, context.Canceled)
	}
}

func testDeadline(t *testing.T, factory Factory) {
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	var has atomic.Bool
	wait := waiting(begun, ended)
	inv, ref := serve(t, factory, func(ctx context.Context, in functions.Source, out functions.Sink) error {
		_, ok := ctx.Deadline()
		has.Store(ok)
		return wait(ctx, in, out)
	})
	// The deadline has to be far enough for the call to begin on a busy machine; if it is not, try a later one.
	for limit := 100 * time.Millisecond; ; limit *= 4 {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		_, _, err := call(ctx, inv, ref)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, want %v", err, context.DeadlineExceeded)
		}
		select {
		case <-begun:
		default:
			continue
		}
		break
	}
	if err := <-ended; err == nil || !has.Load() {
		t.Errorf("the function ended with %v and saw a deadline: %v", err, has.Load())
	}
}

// testTimeLeft: the function knows of limits that others keep.
func testTimeLeft(t *testing.T, factory Factory) {
	got := make(chan time.Duration, 1)
	inv, ref := serve(t, factory, func(ctx context.Context, in functions.Source, out functions.Sink) error {
		left, _ := functions.TimeLeft(ctx)
		got <- left
		return nil
	})
	ctx, _, stop := functions.WithAllowance(t.Context(), time.Minute, functions.ErrTimeLimit)
	defer stop()
	if _, _, err := call(ctx, inv, ref); err != nil {
		t.Fatal(err)
	}
	if left := <-got; left > time.Minute || left < time.Minute/2 {
		t.Errorf("the function has %v, want up to a minute", left)
	}
}

func testTiming(t *testing.T, factory Factory) {
	var fail atomic.Bool
	inv, ref := serve(t, factory, func(ctx context.Context, in functions.Source, out functions.Sink) error {
		if _, err := in.Recv(ctx); err != nil {
			return err
		}
		if _, err := in.Recv(ctx); !errors.Is(err, io.EOF) {
			return fmt.Errorf("got %w, want the end", err)
		}
		it := text("ab")
		it.Blobs = []functions.Attachment{functions.Attach("text/plain", make([]byte, 1000))}
		if err := errors.Join(out.Send(ctx, it), out.Send(ctx, text(""))); err != nil {
			return err
		}
		if fail.Load() {
			return functions.ErrFunction
		}
		return nil
	})
	for _, want := range []error{nil, functions.ErrFunction} {
		fail.Store(want != nil)
		_, got, err := call(t.Context(), inv, ref, text("abcd"))
		if !errors.Is(err, want) {
			t.Fatal(err)
		}
		if got.BytesIn != 5 || got.BytesOut != 1004 || got.FirstItem <= 0 || got.Total < got.FirstItem {
			t.Errorf("with error %v: timing %+v, want 5 bytes in, 1004 out, and a first item before the end", want, got)
		}
	}
}

func testWake(t *testing.T, factory Factory) {
	var mu sync.Mutex
	woken := map[string]int{}
	a, b, c := tracked(t, New("a", echo)), tracked(t, New("b", echo)), tracked(t, New("c", echo))
	inv := factory(t, Setup{Functions: []Function{a, b, c}, Woken: func(r functions.Ref) {
		mu.Lock()
		defer mu.Unlock()
		woken[r.Name]++
	}})
	if err := inv.Wake(t.Context(), []functions.Ref{a.Manifest.Ref(), b.Manifest.Ref()}, nil); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	diff := cmp.Diff(woken, map[string]int{"a": 1, "b": 1})
	mu.Unlock()
	if diff != "" {
		t.Errorf("woken, got (-) want (+):\n%s", diff)
	}
	if _, _, err := call(t.Context(), inv, a.Manifest.Ref(), text("x")); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if woken["a"] != 1 {
		t.Errorf("a call started an instance though one was awake: %d starts", woken["a"])
	}
}

func testUnknown(t *testing.T, factory Factory) {
	inv, ref := serve(t, factory, echo)
	ref.Digest = functions.DigestOf([]byte("another version"))
	if _, _, err := call(t.Context(), inv, ref); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("Invoke: got %v, want %v", err, functions.ErrNotFound)
	}
	if err := inv.Wake(t.Context(), []functions.Ref{ref}, nil); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("Wake: got %v, want %v", err, functions.ErrNotFound)
	}
}

func testConcurrent(t *testing.T, factory Factory) {
	inv, ref := serve(t, factory, echo)
	var callers sync.WaitGroup
	for i := range 64 {
		callers.Go(func() {
			for j := range 10 {
				want := text(fmt.Sprintf("%d/%d", i, j))
				got, _, err := call(t.Context(), inv, ref, want)
				if err != nil || len(got) != 1 || !bytes.Equal(got[0].Value, want.Value) {
					t.Errorf("call %d/%d: %d items, error %v", i, j, len(got), err)
				}
			}
		})
	}
	callers.Wait()
}
