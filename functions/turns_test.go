package functions_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/google/go-cmp/cmp"
)

func TestTurns(t *testing.T) {
	turns := functions.NewTurns()
	first, changed := turns.First()
	if first != 0 || turns.Over(0) {
		t.Errorf("new turns begin at %d, turn 0 over: %v", first, turns.Over(0))
	}
	if !turns.End(2) {
		t.Error("the end of turn 2 is no news")
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the change")
	}
	for turn, want := range []bool{true, true, true, false} {
		if got := turns.Over(uint64(turn)); got != want {
			t.Errorf("turn %d over: %v", turn, got)
		}
	}
	if turns.End(2) || turns.End(0) || turns.Advance(3) {
		t.Error("a turn ended twice")
	}
}

func TestTurns_Context(t *testing.T) {
	turns := functions.NewTurns()
	old, forget := turns.Context(t.Context(), 1)
	defer forget()
	next, forgetNext := turns.Context(t.Context(), 2)
	defer forgetNext()
	turns.End(1)
	if !errors.Is(context.Cause(old), functions.ErrInterrupted) {
		t.Errorf("the context of turn 1 ended with %v", context.Cause(old))
	}
	if next.Err() != nil {
		t.Errorf("the context of turn 2 ended: %v", context.Cause(next))
	}
	late, forgetLate := turns.Context(t.Context(), 0)
	defer forgetLate()
	if !errors.Is(context.Cause(late), functions.ErrInterrupted) {
		t.Errorf("a context of a turn that is over ended with %v", context.Cause(late))
	}
	forgetNext()
	if !errors.Is(context.Cause(next), context.Canceled) {
		t.Errorf("a context that was given back ended with %v", context.Cause(next))
	}
}

func TestTurns_Nil(t *testing.T) {
	var turns *functions.Turns
	ctx, forget := turns.Context(t.Context(), 0)
	defer forget()
	if first, changed := turns.First(); first != 0 || changed != nil || turns.Over(0) || ctx.Err() != nil {
		t.Error("a turn of no turns is over")
	}
}

func TestStream_Drop(t *testing.T) {
	s := functions.NewStream(4, 0)
	for turn := range uint64(4) {
		if err := s.Send(t.Context(), functions.Item{Value: []byte{1}, Turn: turn}); err != nil {
			t.Fatal(err)
		}
	}
	s.Drop(2)
	s.Drop(1) // no news
	// The stream has room again, and takes nothing of an old turn.
	for _, turn := range []uint64{1, 4, 5} {
		if err := s.Send(t.Context(), functions.Item{Value: []byte{1}, Turn: turn}); err != nil {
			t.Fatal(err)
		}
	}
	s.CloseSend(nil)
	var got []uint64
	for {
		it, err := s.Recv(t.Context())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, it.Turn)
	}
	if diff := cmp.Diff([]uint64{2, 3, 4, 5}, got); diff != "" {
		t.Error(diff)
	}
}

// TestStream_DropMakesRoomInBytes keeps what the dropped items held from being counted for ever.
func TestStream_DropMakesRoomInBytes(t *testing.T) {
	s := functions.NewStream(8, 10)
	for range 2 {
		if err := s.Send(t.Context(), functions.Item{Value: make([]byte, 5)}); err != nil {
			t.Fatal(err)
		}
	}
	s.Drop(1)
	ctx, cancel := context.WithCancel(t.Context())
	for range 2 {
		if err := s.Send(ctx, functions.Item{Value: make([]byte, 5), Turn: 1}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
}
