package gateway

import (
	"errors"
	"slices"
	"testing"

	"connectrpc.com/connect"

	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// interrupt makes a turn of a visit over by a call of its own.
func (w *world) interrupt(t *testing.T, run string, turn, sent uint64) {
	t.Helper()
	got, err := w.rpc.Interrupt(t.Context(), &catenaryv1.InterruptRequest{Run: run, Turn: turn, Sent: sent})
	if err != nil || !got.Ended {
		t.Fatalf("interrupt: %v, %v, want that a turn ended", got, err)
	}
}

// TestInterrupt_AfterTheInput: a run whose caller can't say anything any more is interrupted, whatever door it came by.
func TestInterrupt_AfterTheInput(t *testing.T) {
	for door, visit := range doors {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			w, a := actWorld(t, nil)
			v := visit(t, w, "act", "a hold", 0)
			if got := v.hear(); got.Value != "A" {
				t.Fatalf("got %v", got)
			}
			<-a.held
			w.interrupt(t, v.id(), 0, 0)
			if got, want := v.hear(), (heard{Kind: eventTurnOver}); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
			got, err := w.rpc.Interrupt(t.Context(), &catenaryv1.InterruptRequest{Run: v.id()})
			if err != nil || got.Ended {
				t.Errorf("again: %v, %v, want that it is no news", got, err)
			}
			v.leave()
			<-a.ended
		})
	}
}

// TestInterrupt_OneValue: the call of a chain that takes one value is ended, and its run goes well.
func TestInterrupt_OneValue(t *testing.T) {
	for door, visit := range doors {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			v := visit(t, w, "drip", "x", 0)
			if got := v.hear(); got.Value != "first" {
				t.Fatalf("got %v", got)
			}
			<-w.gate.begun
			w.interrupt(t, v.id(), 0, 1)
			if got, want := v.hear(), (heard{Kind: eventTurnOver}); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
			if err := <-w.gate.ended; err == nil {
				t.Error("the function was not ended")
			}
			if got := v.hear(); got.Kind != eventEnd {
				t.Errorf("got %v, want the end", got)
			}
			<-w.s.requests.idle()
			_, err := w.rpc.Interrupt(t.Context(), &catenaryv1.InterruptRequest{Run: v.id()})
			if connect.CodeOf(err) != connect.CodeNotFound || catenaryv1.FailureIn(err).GetCode() != "not_found" {
				t.Errorf("after the end: got %v, want %v", err, connect.CodeNotFound)
			}
			if n := len(w.s.streaming.runs); n != 0 {
				t.Errorf("%d runs are kept", n)
			}
		})
	}
}

// TestInterrupt_BesideAFullInput: it does not stand behind what was sent before it, of which the run takes nothing.
func TestInterrupt_BesideAFullInput(t *testing.T) {
	w, a := actWorld(t, nil)
	v := w.rpcVisit(t, "act", 0)
	v.say("a hold", 0)
	if got := v.hear(); got.Value != "A" {
		t.Fatalf("got %v", got)
	}
	<-a.held
	for range 300 {
		v.say("x", 0)
	}
	w.interrupt(t, v.id(), 0, 301)
	if got, want := v.hear(), (heard{Kind: eventTurnOver}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	v.leave()
	<-a.ended
}

// TestIntake_InterruptionOfWhatIsOnItsWay: a turn that begins with an item that was sent before is over as it begins, even
// if the interruption overtook the item; one that begins later is not.
func TestIntake_InterruptionOfWhatIsOnItsWay(t *testing.T) {
	q := newIntake(true)
	var asked []uint64
	q.interrupt = func(turn uint64) bool { asked = append(asked, turn); return false }
	for _, m := range []mark{{3, 7}, {2, 9}, {3, 8}} {
		if _, err := q.interruptTurn(m.turn, m.after); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range [][]uint64{{7, 9, 8}, {}, {9}, {8}, {}} { // what was asked before the item at i was taken
		if err := q.push(t.Context(), functions.Item{}); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Recv(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(asked, want) {
			t.Errorf("item %d: asked to interrupt %v, want %v", i, asked, want)
		}
		asked = nil
	}
}

// TestIntake_InterruptionsAreBounded: a caller can't make the server keep ever more of them.
func TestIntake_InterruptionsAreBounded(t *testing.T) {
	q := newIntake(true)
	q.interrupt = func(uint64) bool { return false }
	for n := range uint64(maxMarks) {
		if _, err := q.interruptTurn(0, n+1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := q.interruptTurn(0, maxMarks+1); !errors.Is(err, functions.ErrQueueFull) {
		t.Errorf("got %v, want %v", err, functions.ErrQueueFull)
	}
	if _, err := q.interruptTurn(0, 0); err != nil {
		t.Errorf("what does not wait: %v", err)
	}
}
