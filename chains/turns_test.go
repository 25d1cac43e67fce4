package chains

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// TestTurns_OfTheCaller: they are counted one by one, from wherever the caller begins, and have an end.
func TestTurns_OfTheCaller(t *testing.T) {
	p := compile(t, chain(call("copy", "in")), streamFns())
	for _, tt := range []struct {
		turns []uint64
		ok    bool
	}{
		{[]uint64{0, 0, 1}, true}, {[]uint64{7, 8, 8}, true}, {[]uint64{math.MaxInt64}, true},
		{[]uint64{0, 2}, false}, {[]uint64{1, 0}, false}, {[]uint64{math.MaxInt64 + 1}, false},
	} {
		var items []functions.Item
		for _, turn := range tt.turns {
			it := item(t, n{1})
			it.Turn = turn
			items = append(items, it)
		}
		_, err := p.Run(t.Context(), Run{Invoker: serve(t, map[string]server{"copy": mapper(t, same)}), In: functions.Items(items...), Out: &caller{t: t}})
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("turns %d: got %v", tt.turns, err)
		}
	}
}

// listen opens a turn at every item that ends with 0: 30 opens turn 3.
func listen(t testing.TB) server {
	return func(ctx context.Context, _ functions.Call, in functions.Source, out functions.Sink) error {
		for turn := uint64(0); ; {
			it, err := in.Recv(ctx)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if v := decode[n](t, it).N; v%10 == 0 && v > 0 {
				turn = uint64(v / 10)
			}
			it.Turn = turn
			if err := out.Send(ctx, it); err != nil {
				return err
			}
		}
	}
}

// slowly makes a unary server that takes a second.
func slowly(t testing.TB, cancelled *[]int) server {
	return func(ctx context.Context, _ functions.Call, in functions.Source, out functions.Sink) error {
		it, err := in.Recv(ctx)
		if err != nil {
			return err
		}
		select {
		case <-time.After(time.Second):
			return out.Send(ctx, it)
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), functions.ErrInterrupted) {
				*cancelled = append(*cancelled, decode[n](t, it).N)
			}
			return errors.New("killed")
		}
	}
}

// TestInterrupt: the caller interrupts a turn. What is computed from it is dropped, wherever it is; what comes after it
// goes on, and so do the steps before the one that opens turns.
func TestInterrupt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("copy", "in"), call("listen", "copy"), each("inc", "listen"), call("pair", "inc")), streamFns())
		var cancelled []int
		var before, after []functions.Call
		inv := serve(t, map[string]server{
			"copy": func(ctx context.Context, c functions.Call, in functions.Source, out functions.Sink) error {
				before = append(before, c)
				return mapper(t, same)(ctx, c, in, out)
			},
			"listen": listen(t),
			"inc":    slowly(t, &cancelled),
			"pair": func(ctx context.Context, c functions.Call, in functions.Source, out functions.Sink) error {
				after = append(after, c)
				return mapper(t, same)(ctx, c, in, out)
			},
		})
		in, out := newLive(), &caller{t: t}
		run := begin(t, p, Run{Invoker: inv, In: in, Out: out, TurnOver: out.turnOver})
		if run.Interrupt(0) {
			t.Error("a turn was interrupted before any began")
		}
		in.put(t, 1, 10, 11, 12, 13)
		time.Sleep(2500 * time.Millisecond) // 1 and 10 are out, 11 is in its call, 12 and 13 wait
		if !run.Interrupt(1) {
			t.Error("turn 1 was over before")
		}
		if run.Interrupt(1) || run.Interrupt(0) || run.Interrupt(7) {
			t.Error("a turn was interrupted twice, or before it began")
		}
		synctest.Wait()
		in.put(t, 14) // of turn 1 still, and late
		in.put(t, 20, 21)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]int{1, 10, -1, -2, 20, 21}, out.got); diff != "" {
			t.Errorf("what the caller got (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]int{11}, cancelled); diff != "" {
			t.Errorf("calls that were cancelled (-want +got):\n%s", diff)
		}
		in.CloseSend(nil)
		if _, err := run.Wait(); err != nil {
			t.Error(err)
		}
		if len(before) != 1 || before[0].Turns != nil {
			t.Errorf("the step before listen was called with %+v", before)
		}
		if len(after) != 1 || !after[0].Turns.Over(1) || after[0].Turns.Over(2) {
			t.Errorf("the step after it was called with %+v", after)
		}
	})
}

// TestInterrupt_OnOnset: a step that opens a turn ends the one before by itself, if the chain says so.
func TestInterrupt_OnOnset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := chain(call("listen", "in"), each("inc", "listen"))
		c.Interrupt = spec.InterruptOnset
		p := compile(t, c, streamFns())
		var cancelled []int
		in, out := newLive(), &caller{t: t}
		run := begin(t, p, Run{Invoker: serve(t, map[string]server{"listen": listen(t), "inc": slowly(t, &cancelled)}), In: in, Out: out, TurnOver: out.turnOver})
		in.put(t, 10, 11, 12)
		time.Sleep(1500 * time.Millisecond)
		in.put(t, 20, 21)
		time.Sleep(1500 * time.Millisecond)
		in.put(t, 30)
		in.CloseSend(nil)
		if _, err := run.Wait(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]int{-1, 10, -2, 20, -3, 30}, out.got); diff != "" {
			t.Errorf("what the caller got (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]int{11, 21}, cancelled); diff != "" {
			t.Errorf("calls that were cancelled (-want +got):\n%s", diff)
		}
	})
}

// TestInterrupt_WithoutOpener: the caller counts the turns, and what waits of an old one is skipped.
func TestInterrupt_WithoutOpener(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(each("inc", "in"), as("last", each("double", "inc"))), streamFns())
		var cancelled []int
		in, out := newLive(), &caller{t: t}
		run := begin(t, p, Run{Invoker: serve(t, map[string]server{"inc": slowly(t, &cancelled), "last": mapper(t, same)}), In: in, Out: out, TurnOver: out.turnOver})
		for turn := range uint64(3) {
			for i := range 2 {
				it := item(t, n{10*int(turn+5) + i})
				it.Turn = turn + 5 // it begins where it likes
				if err := in.Send(t.Context(), it); err != nil {
					t.Error(err)
				}
			}
		}
		time.Sleep(1500 * time.Millisecond)
		run.Interrupt(6)
		in.CloseSend(nil)
		if _, err := run.Wait(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]int{50, -6, -7, 70, 71}, out.got); diff != "" {
			t.Errorf("what the caller got (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]int{51}, cancelled); diff != "" {
			t.Errorf("calls that were cancelled (-want +got):\n%s", diff)
		}
	})
}

// TestInterrupt_OfOneValue ends a run whose input was one value, well and at once.
func TestInterrupt_OfOneValue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("inc", "in"), pick("inc", when("it.n > 100", as("a", call("inc", "inc"))), when("", as("b", call("double", "inc"))))), streamFns())
		var cancelled []int
		out := &caller{t: t}
		run := begin(t, p, Run{Invoker: serve(t, map[string]server{"inc": slowly(t, &cancelled)}), In: functions.Items(item(t, n{1})), Out: out, TurnOver: out.turnOver})
		synctest.Wait()
		begun := time.Now()
		if !run.Interrupt(0) {
			t.Error("turn 0 is over before")
		}
		if _, err := run.Wait(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]int{-1}, out.got); diff != "" || time.Since(begun) != 0 {
			t.Errorf("what the caller got after %s (-want +got):\n%s", time.Since(begun), diff)
		}
	})
}

// TestInterrupt_SlowCaller: while the caller takes nothing the steps learn of the interruption all the same, and the
// caller gets nothing of the turn afterwards but what it was being given.
func TestInterrupt_SlowCaller(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("listen", "in"), call("copy", "listen")), streamFns())
		gate := make(chan struct{})
		out := &caller{t: t}
		in := newLive()
		run := begin(t, p, Run{
			Invoker: serve(t, map[string]server{"listen": listen(t), "copy": mapper(t, same)}), In: in, TurnOver: out.turnOver, EdgeItems: 1,
			Out: functions.SinkFunc(func(ctx context.Context, it functions.Item) error { <-gate; return out.Send(ctx, it) }),
		})
		in.put(t, 10, 11, 12, 13, 14, 15, 16, 20, 21)
		synctest.Wait()
		if !run.Interrupt(1) {
			t.Error("turn 1 is over before")
		}
		synctest.Wait()
		close(gate)
		in.CloseSend(nil)
		if _, err := run.Wait(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]int{10, -1, -2, 20, 21}, out.got); diff != "" {
			t.Errorf("what the caller got (-want +got):\n%s", diff)
		}
	})
}

func TestTurns_Faults(t *testing.T) {
	opens := func(turns ...uint64) server {
		return func(ctx context.Context, _ functions.Call, _ functions.Source, out functions.Sink) error {
			for _, turn := range turns {
				it := item(t, n{})
				it.Turn = turn
				if err := out.Send(ctx, it); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for name, tt := range map[string]struct {
		chain spec.Chain
		inv   map[string]server
		in    []uint64
		want  string
	}{
		"a step that must not":  {chain(call("copy", "in")), map[string]server{"copy": opens(1)}, []uint64{0}, "say that it opens turns"},
		"too far":               {chain(call("listen", "in")), map[string]server{"listen": opens(1, 3)}, []uint64{0}, "opened turn 3 after turn 1"},
		"the caller, backwards": {chain(call("copy", "in")), map[string]server{"copy": mapper(t, same)}, []uint64{2, 1}, "an item of turn 1 after turn 2"},
		"the caller, too far":   {chain(call("copy", "in")), map[string]server{"copy": mapper(t, same)}, []uint64{2, 4}, "an item of turn 4 after turn 2"},
		"a call ends with a turn": {chain(call("copy", "in")), map[string]server{"copy": func(context.Context, functions.Call, functions.Source, functions.Sink) error {
			return functions.ErrInterrupted
		}}, []uint64{0}, "it has to go on with the next one"},
	} {
		bubble(t, func(t *testing.T) {
			var items []functions.Item
			for _, turn := range tt.in {
				it := item(t, n{})
				it.Turn = turn
				items = append(items, it)
			}
			_, err := compile(t, tt.chain, streamFns()).Run(t.Context(), Run{Invoker: serve(t, tt.inv), In: functions.Items(items...), Out: &caller{t: t}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v, want %q", name, err, tt.want)
			}
		})
	}
	// Before a step that opens turns there is none: the caller's count does not matter.
	bubble(t, func(t *testing.T) {
		it := item(t, n{5})
		it.Turn = 9
		var turns []uint64
		out := functions.SinkFunc(func(_ context.Context, it functions.Item) error { turns = append(turns, it.Turn); return nil })
		p := compile(t, chain(call("listen", "in")), streamFns())
		if _, err := p.Run(t.Context(), Run{Invoker: serve(t, map[string]server{"listen": listen(t)}), In: functions.Items(it), Out: out}); err != nil || !slices.Equal(turns, []uint64{0}) {
			t.Errorf("got turns %v, %v", turns, err)
		}
	})
}
