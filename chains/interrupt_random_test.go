package chains

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// TestInterrupt_RandomRows interrupts rows of steps at random points, by the caller and by the chain itself. The step
// that opens turns is anywhere in the row; steps, caller and input are slow at random, and edges are short.
func TestInterrupt_RandomRows(t *testing.T) {
	var cut, dropped, spared int // turns
	rapid.Check(t, func(rt *rapid.T) {
		talk := randomTalk(rt)
		p := compile(t, talk.chain(), streamFns())
		var inv fake
		var heard outcome
		var err error
		synctest.Test(t, func(t *testing.T) { heard, err = talk.run(t, p, &inv) })
		if err != nil {
			rt.Fatalf("the run ended with %v", err)
		}
		if inv.running != 0 {
			rt.Fatalf("%d calls go on after the run", inv.running)
		}
		// Who comes before the turns knows nothing of them.
		values := talk.input
		for i, st := range talk.steps[:talk.opener+1] {
			if !slices.Equal(heard.seen[st.Name], values) {
				rt.Fatalf("step %s has seen %v, want all of %v", st.Name, heard.seen[st.Name], values)
			}
			if i < talk.opener {
				values = mapAll(st.Func, values)
			}
		}
		want := talk.turns(values)
		newest := len(want) - 1
		for i, turn := range heard.over {
			if turn != i {
				rt.Fatalf("the caller was told of turns %v, want each once, in order", heard.over)
			}
		}
		over := len(heard.over)
		if least, most := heard.bounds(talk.onset, newest); over < least || over > most {
			rt.Fatalf("%d turns are over, want %d to %d", over, least, most)
		}
		for turn, all := range want {
			got := heard.items[turn]
			switch whole := slices.Equal(got, all); {
			case turn >= over && !whole:
				rt.Fatalf("nobody interrupted turn %d: got %v, want %v", turn, got, all)
			case len(got) > len(all) || !slices.Equal(got, all[:len(got)]):
				rt.Fatalf("of turn %d came %v, not the first of %v", turn, got, all)
			case whole:
				spared++
			case len(got) > 0:
				cut++
			default:
				dropped++
			}
		}
	})
	t.Logf("of all turns %d were cut, %d dropped, and %d came whole", cut, dropped, spared)
	if cut == 0 || dropped == 0 || spared == 0 {
		t.Error("no turn was cut, or none dropped, or none came whole: the test has lost its force")
	}
}

// talk is a row of steps, and how those and its caller behave.
type talk struct {
	steps  []spec.Step
	opener int // of steps
	onset  bool

	input     []int
	opens     []bool // by the number of an item that the opener sends: it is the first of a turn
	inputSlow time.Duration
	slow      map[string]time.Duration // for each item that a step sends
	heeds     map[string]bool          // a step of streams stops to work on a turn that is over
	sinkSlow  time.Duration
	tellSlow  time.Duration // the caller takes its time to hear that a turn is over
	edgeItems int
	at        []interruption // by the clock
	atItem    map[int]bool   // by the number of items that the caller has
}

type interruption struct {
	after time.Duration
	turn  uint64
}

func randomTalk(t *rapid.T) talk {
	halves := func(name string, most int) time.Duration {
		return time.Duration(rapid.IntRange(0, most).Draw(t, name)) * time.Second / 2
	}
	k := talk{
		onset:     rapid.Bool().Draw(t, "onset"),
		opens:     rapid.SliceOfN(rapid.Bool(), 1, 12).Draw(t, "opens"),
		inputSlow: halves("input slow", 4),
		slow:      map[string]time.Duration{},
		heeds:     map[string]bool{},
		sinkSlow:  halves("sink slow", 4),
		tellSlow:  halves("tell slow", 2),
		edgeItems: rapid.IntRange(1, 4).Draw(t, "edge"),
		atItem:    map[int]bool{},
	}
	for i := range rapid.IntRange(0, 12).Draw(t, "items") {
		k.input = append(k.input, i)
	}
	n := rapid.IntRange(1, 5).Draw(t, "steps")
	k.opener = rapid.IntRange(0, n-1).Draw(t, "opener")
	from := spec.Input
	for i := range n {
		st := call("listen", from)
		if i != k.opener {
			fn := rapid.SampledFrom([]string{"copy", "pair", "inc", "double"}).Draw(t, "fn")
			if st = call(fn, from); fn == "inc" || fn == "double" {
				st = each(fn, from)
			}
		}
		st.Name = fmt.Sprintf("%s%d", st.Func, i)
		k.steps, from = append(k.steps, st), st.Name
		k.slow[st.Name] = halves("slow", 4)
		k.heeds[st.Name] = rapid.Bool().Draw(t, "heeds") && i != k.opener // what it takes is of no turn yet
	}
	for range rapid.IntRange(0, 4).Draw(t, "interruptions") {
		k.at = append(k.at, interruption{halves("after", 40), uint64(rapid.IntRange(0, 8).Draw(t, "turn"))})
	}
	for _, i := range rapid.SliceOfN(rapid.IntRange(1, 20), 0, 3).Draw(t, "at items") {
		k.atItem[i] = true
	}
	return k
}

func (k talk) chain() spec.Chain {
	c := chain(k.steps...)
	if k.onset {
		c.Interrupt = spec.InterruptOnset
	}
	return c
}

// opensAt reports whether the i-th item of the opener is the first of a turn. Turn 0 needs no opening.
func (k talk) opensAt(i int) bool { return i > 0 && k.opens[i%len(k.opens)] }

// turns returns what the row makes of the opener's input, by turn.
func (k talk) turns(values []int) [][]int {
	turns := [][]int{nil}
	for i, v := range values {
		if k.opensAt(i) {
			turns = append(turns, nil)
		}
		all := []int{v}
		for _, st := range k.steps[k.opener+1:] {
			all = mapAll(st.Func, all)
		}
		turns[len(turns)-1] = append(turns[len(turns)-1], all...)
	}
	return turns
}

// mapAll is what a function makes of values, one after the other.
func mapAll(fn string, values []int) (out []int) {
	for _, v := range values {
		switch fn {
		case "inc":
			out = append(out, v+1)
		case "double":
			out = append(out, 2*v)
		case "pair":
			out = append(out, 2*v, 2*v+1)
		default:
			out = append(out, v)
		}
	}
	return out
}

// outcome is what came of a talk.
type outcome struct {
	seen  map[string][]int // by step
	items map[int][]int    // of the caller, by turn
	over  []int
	done  []done
}

// done is an interruption that was news.
type done struct {
	turn   int
	newest int // that had begun when it came, at least
}

// bounds returns how many turns are over at least and at most, if newest is the last that was opened.
func (h outcome) bounds(onset bool, newest int) (least, most int) {
	if onset {
		least, most = newest, newest
	}
	for _, d := range h.done {
		least = max(least, min(d.turn, d.newest)+1)
		most = max(most, min(d.turn, newest)+1)
	}
	return least, most
}

// run executes the plan as the talk says. It fails t when the caller gets what must not come any more.
func (k talk) run(t *testing.T, p *Plan, inv *fake) (h outcome, err error) {
	h = outcome{seen: map[string][]int{}, items: map[int][]int{}}
	var mu sync.Mutex // guards h.seen and h.done
	var newest atomic.Int64
	steps := map[string]spec.Step{}
	for _, st := range k.steps {
		steps[st.Name] = st
	}
	do := invokerFunc(func(ctx context.Context, c functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
		st := steps[c.Step]
		for sent, opened := 0, uint64(0); ; {
			it, err := in.Recv(ctx)
			if err == io.EOF {
				return functions.Timing{}, nil
			}
			if err != nil {
				return functions.Timing{}, err
			}
			v := decode[n](t, it).N
			mu.Lock()
			h.seen[c.Step] = append(h.seen[c.Step], v)
			mu.Unlock()
			working, forget := ctx, context.CancelFunc(func() {})
			if k.heeds[c.Step] {
				working, forget = c.Turns.Context(ctx, it.Turn)
			}
			for _, v := range mapAll(st.Func, []int{v}) {
				o := item(t, n{v})
				if o.Turn = it.Turn; st.Func == "listen" {
					if k.opensAt(sent) {
						opened++
					}
					sent++
					o.Turn = opened
				}
				if pause(working, k.slow[c.Step]) != nil && ctx.Err() == nil {
					break // the turn is over: on to the next item
				}
				if err := out.Send(ctx, o); err != nil {
					forget()
					return functions.Timing{}, err
				}
				if st.Func == "listen" {
					newest.Store(int64(opened))
				}
			}
			forget()
		}
	})

	var run *Running
	started := make(chan struct{})
	interrupt := func(turn uint64) {
		<-started
		before := int(newest.Load())
		if run.Interrupt(turn) {
			mu.Lock()
			defer mu.Unlock()
			h.done = append(h.done, done{int(turn), before})
		}
	}
	count, last := 0, uint64(0)
	sink := functions.SinkFunc(func(ctx context.Context, it functions.Item) error {
		if err := pause(ctx, k.sinkSlow); err != nil {
			return err
		}
		switch {
		case int(it.Turn) < len(h.over):
			t.Errorf("an item of turn %d came after the end of turns %v", it.Turn, h.over)
		case it.Turn < last:
			t.Errorf("an item of turn %d came after one of turn %d", it.Turn, last)
		}
		last = it.Turn
		h.items[int(it.Turn)] = append(h.items[int(it.Turn)], decode[n](t, it).N)
		if count++; k.atItem[count] {
			interrupt(it.Turn)
		}
		return nil
	})
	next := 0
	in := sourceFunc(func(ctx context.Context) (functions.Item, error) {
		if next == len(k.input) {
			return functions.Item{}, io.EOF
		}
		next++
		return item(t, n{k.input[next-1]}), pause(ctx, k.inputSlow)
	})
	run = begin(t, p, Run{
		Invoker: counted{do, inv}, In: in, Out: sink, EdgeItems: k.edgeItems,
		TurnOver: func(turn uint64) {
			time.Sleep(k.tellSlow)
			h.over = append(h.over, int(turn))
		},
	})
	close(started)
	var callers sync.WaitGroup
	for _, at := range k.at {
		callers.Go(func() {
			time.Sleep(at.after)
			interrupt(at.turn)
		})
	}
	_, err = run.Wait()
	callers.Wait()
	return h, err
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// TestInterrupt_ShortRun: a run that is over before anybody has begun to look for its turns tells of all of them.
func TestInterrupt_ShortRun(t *testing.T) {
	p := compile(t, chain(call("listen", "in")), streamFns())
	for range 100 { // which of its ends a select sees is chance
		var over []uint64
		x := newExec(t.Context(), p, Run{TurnOver: func(turn uint64) { over = append(over, turn) }})
		close(x.opened)
		x.turns.Advance(2)
		x.cancel(errRunOver)
		x.watchTurns()
		if !slices.Equal(over, []uint64{0, 1}) {
			t.Fatalf("the caller was told of turns %v, want 0 and 1", over)
		}
	}
}
