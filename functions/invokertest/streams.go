package invokertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/catenary-run/catenary/functions"
)

// newDuplex returns f as a function from a stream to a stream.
func newDuplex(t *testing.T, body func(ctx context.Context, in functions.Source, out functions.Sink) error) Function {
	f := New("duplex", body)
	f.Manifest.In.Stream = true
	return tracked(t, f)
}

// testFullDuplex: each item goes in after the answer to the one before has come out.
func testFullDuplex(t *testing.T, factory Factory) {
	const items = 200
	f := newDuplex(t, echo)
	inv := factory(t, Setup{Functions: []Function{f}})
	in := functions.NewStream(1, 0)
	if err := in.Send(t.Context(), text("0")); err != nil {
		t.Fatal(err)
	}
	n := 0
	_, err := inv.Invoke(t.Context(), functions.Call{Ref: f.Manifest.Ref()}, in, functions.SinkFunc(func(ctx context.Context, it functions.Item) error {
		if want := text(fmt.Sprint(n)); string(it.Value) != string(want.Value) {
			return fmt.Errorf("item %d is %q", n, it.Value)
		}
		if n++; n == items {
			in.CloseSend(nil)
			return nil
		}
		return in.Send(ctx, text(fmt.Sprint(n)))
	}))
	if err != nil || n != items {
		t.Errorf("%d items and error %v, want %d and none", n, err, items)
	}
}

// untilOver yields one item, and another, of the next turn, when turn 0 is over.
func untilOver(ctx context.Context, in functions.Source, out functions.Sink) error {
	it, err := in.Recv(ctx)
	if err != nil {
		return err
	}
	turn, done := TurnsOf(ctx).Context(ctx, it.Turn)
	defer done()
	if err := out.Send(ctx, text("begun")); err != nil {
		return err
	}
	<-turn.Done()
	if !errors.Is(context.Cause(turn), functions.ErrInterrupted) {
		return context.Cause(turn)
	}
	next := text("over")
	next.Turn = it.Turn + 1
	return out.Send(ctx, next)
}

func testTurns(t *testing.T, factory Factory) {
	f := newDuplex(t, untilOver)
	inv := factory(t, Setup{Functions: []Function{f}})
	turns := functions.NewTurns()
	var got []functions.Item
	_, err := inv.Invoke(t.Context(), functions.Call{Ref: f.Manifest.Ref(), Turns: turns}, functions.Items(text("go")),
		functions.SinkFunc(func(_ context.Context, it functions.Item) error {
			if got = append(got, it); len(got) == 1 {
				turns.End(0)
			}
			return nil
		}))
	if err != nil || len(got) != 2 || got[1].Turn != 1 {
		t.Errorf("items %v and error %v, want two, the last of turn 1", got, err)
	}
	// What was over before the call is over in it.
	if _, _, err := callWith(t.Context(), inv, functions.Call{Ref: f.Manifest.Ref(), Turns: turns}, text("go")); err != nil {
		t.Error(err)
	}
}

func callWith(ctx context.Context, inv functions.Invoker, call functions.Call, in ...functions.Item) ([]functions.Item, functions.Timing, error) {
	var got []functions.Item
	timing, err := inv.Invoke(ctx, call, functions.Items(in...), functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		got = append(got, it)
		return nil
	}))
	return got, timing, err
}

// testTurnsPassAFullInput: the function hears that its turn is over while its input is as full as it gets.
func testTurnsPassAFullInput(t *testing.T, factory Factory) {
	f := newDuplex(t, untilOver)
	inv := factory(t, Setup{Functions: []Function{f}})
	turns := functions.NewTurns()
	var given atomic.Int64
	n := 0
	_, err := inv.Invoke(t.Context(), functions.Call{Ref: f.Manifest.Ref(), Turns: turns}, countingSource{make([]byte, 64<<10), &given},
		functions.SinkFunc(func(context.Context, functions.Item) error {
			if n++; n == 1 {
				settle(&given)
				turns.End(0)
			}
			return nil
		}))
	if err != nil || n != 2 {
		t.Errorf("%d items and error %v, want 2 and none", n, err)
	}
	if n := given.Load(); n > maxAhead/(64<<10) {
		t.Errorf("the source has given %d items of 64 KiB, and the function has taken one", n)
	}
}

// testCancelWhileFull: a call whose input is as full as it gets, and that has yielded an item, ends when it is cancelled.
func testCancelWhileFull(t *testing.T, factory Factory) {
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	f := newDuplex(t, func(ctx context.Context, in functions.Source, out functions.Sink) error {
		if _, err := in.Recv(ctx); err != nil {
			return err
		}
		if err := out.Send(ctx, text("begun")); err != nil {
			return err
		}
		return waiting(begun, ended)(ctx, in, out)
	})
	inv := factory(t, Setup{Functions: []Function{f}})
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	why := errors.New("the run was given up")
	var given atomic.Int64
	var caller sync.WaitGroup
	caller.Go(func() {
		<-begun
		settle(&given)
		cancel(why)
	})
	_, err := inv.Invoke(ctx, functions.Call{Ref: f.Manifest.Ref()}, countingSource{make([]byte, 1<<20), &given},
		functions.SinkFunc(func(context.Context, functions.Item) error { return nil }))
	caller.Wait()
	if !errors.Is(err, why) && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cause", err)
	}
	if err := <-ended; errors.Is(err, io.EOF) || err == nil {
		t.Errorf("the function ended with %v", err)
	}
}
