package chains

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// TestRun_RandomChains runs chains of any shape, with failures, cancels, slow steps and slow readers, beside an
// interpreter that evaluates one step after the other. Each run has a bubble of its own: it never hangs, and leaves
// nothing behind.
func TestRun_RandomChains(t *testing.T) {
	ran := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		streaming := rapid.Bool().Draw(rt, "stream in")
		c := randomChain(rt, streaming)
		fns := streamFns()
		g, err := NewGraph(c, fns, nil)
		if err != nil {
			rt.Fatal(err)
		}
		p, err := Compile(g, fns)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.Contains(line, "can only choose when stream") {
					rt.Fatalf("%v\n%s", err, c.Canonical())
				}
			}
			ran["refused"]++
			return
		}
		w := randomWorld(rt, p, streaming)
		want, whole, faulty := w.interpret(c)

		var out []int
		var inv fake
		synctest.Test(t, func(t *testing.T) {
			out, err = w.run(t, p, &inv)
		})
		switch {
		case inv.running != 0:
			rt.Fatalf("%d calls go on after the run", inv.running)
		case err == nil && whole && len(faulty) > 0 && slices.Equal(out, want):
			ran["enough"]++ // the output had ended before a step failed that it did not need
		case err == nil && len(faulty) > 0:
			rt.Fatalf("no error, want one of steps %v\n%s", faulty, Mermaid(c))
		case err == nil && !slices.Equal(out, want):
			rt.Fatalf("got %v, want %v\n%s", out, want, Mermaid(c))
		case err == nil:
			ran["well"]++
		case errors.Is(err, errInjected):
			se, ok := err.(*functions.StepError)
			if !ok || !slices.Contains(faulty, se.Step) {
				rt.Fatalf("got %v, want one of steps %v\n%s", err, faulty, Mermaid(c))
			}
			ran["failed"]++
		case errors.Is(err, errHungUp) && w.cancelAfter > 0:
			ran["cancelled"]++
		case slices.ContainsFunc(faulty, func(s string) bool { return strings.HasPrefix(s, "last") }) && errors.Is(err, functions.ErrChain):
			ran["empty"]++ // last of an empty stream
		default:
			rt.Fatalf("got %v, want %v or one of steps %v\n%s", err, want, faulty, Mermaid(c))
		}
		if n := len(out); n > len(want) || !slices.Equal(out, want[:n]) {
			rt.Fatalf("the caller got %v, and the chain gives %v", out, want)
		}
	})
	t.Log(ran)
	if ran["well"] == 0 || ran["failed"]+ran["cancelled"] == 0 || ran["enough"] > ran["failed"] {
		t.Error("no chain went well, or few failed: the test has lost its force")
	}
}

var (
	errInjected = errors.New("injected")
	errHungUp   = errors.New("hung up")
)

// randomChain returns a chain over n that is well wired, though its switches may wait for streams that they read. Its
// input is one value, or a stream.
func randomChain(t *rapid.T, streaming bool) spec.Chain {
	count := 0
	streams := map[string]bool{}
	type val struct {
		name   string
		stream bool
	}
	pickVal := func(scope []val, stream bool) (val, bool) {
		fit := slices.DeleteFunc(slices.Clone(scope), func(v val) bool { return v.stream != stream })
		if len(fit) == 0 {
			return val{}, false
		}
		return fit[rapid.IntRange(0, len(fit)-1).Draw(t, "value")], true
	}
	var block func(scope []val, size, depth int, wantStream bool) ([]spec.Step, string)
	block = func(scope []val, size, depth int, wantStream bool) ([]spec.Step, string) {
		scope = slices.Clone(scope)
		var steps []spec.Step
		add := func(st spec.Step, stream bool) {
			count++
			streams[st.Name] = stream
			steps = append(steps, st)
			scope = append(scope, val{st.Name, stream})
		}
		for range size {
			op := rapid.SampledFrom([]string{"inc", "inc", "count", "each", "last", "switch", "copy", "pair", "first", "sum"}).Draw(t, "op")
			name := fmt.Sprintf("%s%d", op, count)
			unary, hasUnary := pickVal(scope, false)
			stream, hasStream := pickVal(scope, true)
			switch {
			case slices.Contains([]string{"copy", "pair", "first", "sum"}, op) && hasStream:
				add(as(name, call(op, stream.name)), op != "sum")
			case !hasUnary:
				add(as(name, each("inc", stream.name)), true)
			case op == "count":
				add(as(name, call("count", unary.name)), true)
			case op == "each" && hasStream:
				add(as(name, each(rapid.SampledFrom([]string{"inc", "double"}).Draw(t, "fn"), stream.name)), true)
			case op == "last" && hasStream:
				add(as(name, last(stream.name)), false)
			case op == "switch" && depth < 3:
				asStream := rapid.Bool().Draw(t, "stream")
				st := spec.Step{Name: name, Op: spec.OpSwitch, From: unary.name}
				count++
				for i := range rapid.IntRange(1, 3).Draw(t, "cases") {
					var cs spec.Case
					cs.Steps, cs.Out = block(scope, rapid.IntRange(0, 3).Draw(t, "size"), depth+1, asStream)
					cs.When = fmt.Sprintf("it.n %% 3 == %d", i)
					if !streaming {
						cs.When += fmt.Sprintf(" || in.n == %d", i)
					}
					st.Cases = append(st.Cases, cs)
				}
				st.Cases[len(st.Cases)-1].When = ""
				add(st, asStream)
			default:
				add(as(name, call("inc", unary.name)), false)
			}
		}
		out, ok := pickVal(scope, wantStream)
		if !ok {
			other, _ := pickVal(scope, !wantStream)
			add(as(fmt.Sprintf("out%d", count), call(map[bool]string{true: "count", false: "sum"}[wantStream], other.name)), wantStream)
			out = scope[len(scope)-1]
		}
		return steps, out.name
	}
	// The first step makes sure that the input has a type.
	scope, begin := []val{{"in", false}, {"begin", false}}, as("begin", call("inc", "in"))
	if streaming {
		scope, begin = []val{{"begin", true}}, as("begin", call("copy", "in"))
	}
	steps, out := block(scope, rapid.IntRange(1, 8).Draw(t, "size"), 0, rapid.Bool().Draw(t, "stream"))
	c := spec.Chain{Name: "test", Steps: append([]spec.Step{begin}, steps...), Out: out}
	return readAll(t, c, streams, streaming)
}

// readAll makes somebody read every step of c, as every chain must: a switch at the end reads some of those that nobody
// reads, so that steps work beside the output; the others are removed, with what only they read. Streams are the steps
// that yield one.
func readAll(t *rapid.T, c spec.Chain, streams map[string]bool, streaming bool) spec.Chain {
	when := "it.n % 3 == 0 || in.n == 0"
	if streaming {
		when = "it.n % 3 == 0"
	}
	for joins := 0; ; {
		unread := map[string]bool{}
		for _, st := range c.Unread() {
			unread[st.Name] = true
		}
		if len(unread) == 0 {
			return c
		}
		for _, st := range c.Steps {
			// The last of an empty stream fails, and so would its reader; that is a matter for other draws.
			if unread[st.Name] && !streams[st.Name] && (st.Name == "begin" && !streaming || rapid.IntRange(0, 3).Draw(t, "read") > 0) {
				joins++
				join := spec.Step{Name: fmt.Sprintf("join%d", joins), Op: spec.OpSwitch, From: st.Name, Cases: []spec.Case{
					{When: when, Out: c.Out}, {Out: c.Out},
				}}
				c.Steps, c.Out = append(slices.Clip(c.Steps), join), join.Name
				delete(unread, st.Name)
			}
		}
		c.Steps = without(c.Steps, unread)
	}
}

func without(steps []spec.Step, names map[string]bool) []spec.Step {
	var kept []spec.Step
	for _, st := range steps {
		if names[st.Name] {
			continue
		}
		st.Cases = slices.Clone(st.Cases)
		for i := range st.Cases {
			st.Cases[i].Steps = without(st.Cases[i].Steps, names)
		}
		kept = append(kept, st)
	}
	return kept
}

// world is how the functions and the caller of one run behave.
type world struct {
	input       []int // one value, unless it streams
	streaming   bool
	inputSlow   time.Duration
	fails       map[string]int // a step fails at inputs that are so modulo 11
	slow        map[string]time.Duration
	sinkSlow    time.Duration
	edgeItems   int
	cancelAfter time.Duration
}

func randomWorld(t *rapid.T, p *Plan, streaming bool) world {
	w := world{
		input:     []int{rapid.IntRange(0, 20).Draw(t, "input")},
		streaming: streaming,
		inputSlow: time.Duration(rapid.IntRange(0, 2).Draw(t, "input slow")) * time.Second,
		fails:     map[string]int{},
		slow:      map[string]time.Duration{},
		edgeItems: rapid.IntRange(1, 4).Draw(t, "edge"),
		sinkSlow:  time.Duration(rapid.IntRange(0, 3).Draw(t, "sink")) * time.Second,
	}
	if streaming {
		w.input = rapid.SliceOfN(rapid.IntRange(0, 20), 0, 8).Draw(t, "inputs")
	}
	if rapid.IntRange(0, 4).Draw(t, "cancel") == 0 {
		w.cancelAfter = time.Duration(rapid.IntRange(1, 20).Draw(t, "after")) * time.Second / 2
	}
	failing := rapid.Bool().Draw(t, "failing")
	for _, step := range p.Steps() {
		w.slow[step] = time.Duration(rapid.IntRange(0, 3).Draw(t, "slow")) * time.Second
		w.fails[step] = -1
		if failing {
			w.fails[step] = rapid.IntRange(-10, 10).Draw(t, "fails")
		}
	}
	return w
}

// apply is what the function of a step makes of one value: what it gives before it fails, if it fails.
func (w world) apply(st spec.Step, v int) (out []int, failed bool) {
	failed = w.fails[st.Name] == v%11
	switch st.Func {
	case "count":
		for i := range v % 6 {
			out = append(out, v+i)
		}
		if failed {
			out = out[:len(out)/2]
		}
		return out, failed
	case "pair":
		out = []int{v, v + 1}
		if failed {
			out = out[:1]
		}
		return out, failed
	case "copy", "first":
	case "double":
		v = 2 * v % 1000
	default:
		v++
	}
	if failed {
		return nil, true
	}
	return []int{v}, false
}

// enough is how many items first takes.
const enough = 2

// interpret evaluates c one step after the other. It returns what the chain gives, if nothing fails, whether that is whole
// whatever fails, and which steps fail by themselves: some of them after what they gave, and what reads it may fail at
// that too.
func (w world) interpret(c spec.Chain) (out []int, whole bool, faulty []string) {
	type result struct {
		items []int
		ended bool // by itself, not because something failed
	}
	known := map[string]result{spec.Input: {w.input, true}}
	var block func([]spec.Step)
	block = func(steps []spec.Step) {
		for _, st := range steps {
			from := known[st.From]
			r := result{ended: from.ended}
			switch st.Op {
			case spec.OpCall, spec.OpEach:
				sum, failed := 0, false
				for i, v := range from.items {
					if st.Func == "first" && i == enough {
						break
					}
					sum += v
					var items []int
					items, failed = w.apply(st, v)
					r.items = append(r.items, items...)
					if failed {
						faulty = append(faulty, st.Name)
						break
					}
				}
				r.ended = (from.ended || st.Func == "first" && len(from.items) >= enough) && !failed
				if st.Func == "sum" {
					r.items = nil
					if r.ended {
						r.items = []int{sum % 1000}
					}
				}
			case spec.OpLast:
				switch {
				case from.ended && len(from.items) == 0:
					faulty = append(faulty, st.Name)
					r.ended = false
				case from.ended:
					r.items = from.items[len(from.items)-1:]
				}
			case spec.OpSwitch:
				if len(from.items) == 0 {
					break
				}
				for i, cs := range st.Cases {
					if cs.When == "" || from.items[0]%3 == i || !w.streaming && w.input[0] == i {
						block(cs.Steps)
						r = known[cs.Out]
						break
					}
				}
			}
			known[st.Name] = r
		}
	}
	block(c.Steps)
	return known[c.Out].items, known[c.Out].ended, faulty
}

// run executes the plan in this world. It returns what the caller got.
func (w world) run(t *testing.T, p *Plan, inv *fake) (out []int, err error) {
	steps := map[string]spec.Step{}
	p.Graph().Spec.Walk(func(st spec.Step) { steps[st.Name] = st })
	wait := func(ctx context.Context, d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	do := invokerFunc(func(ctx context.Context, c functions.Call, src functions.Source, sink functions.Sink) (functions.Timing, error) {
		st, sum := steps[c.Step], 0
		for count := 0; st.Func != "first" || count < enough; count++ {
			it, err := src.Recv(ctx)
			if err == io.EOF {
				break
			}
			if err != nil {
				return functions.Timing{}, err
			}
			v := decode[n](t, it).N
			sum += v
			items, failed := w.apply(st, v)
			if st.Func == "sum" {
				items = nil
			}
			for _, v := range items {
				if err := wait(ctx, w.slow[c.Step]); err != nil {
					return functions.Timing{}, err
				}
				if err := sink.Send(ctx, item(t, n{v})); err != nil {
					return functions.Timing{}, err
				}
			}
			if failed {
				return functions.Timing{}, fmt.Errorf("at %d: %w", v, errInjected)
			}
		}
		if st.Func == "sum" {
			return functions.Timing{}, sink.Send(ctx, item(t, n{sum % 1000}))
		}
		return functions.Timing{}, nil
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	if w.cancelAfter > 0 {
		time.AfterFunc(w.cancelAfter, func() { cancel(errHungUp) })
	}
	sink := functions.SinkFunc(func(ctx context.Context, it functions.Item) error {
		if err := wait(ctx, w.sinkSlow); err != nil {
			return err
		}
		if int(it.Seq) != len(out) {
			return fmt.Errorf("item %d has number %d", len(out), it.Seq)
		}
		out = append(out, decode[n](t, it).N)
		return nil
	})
	next := 0
	in := sourceFunc(func(ctx context.Context) (functions.Item, error) {
		if next == len(w.input) {
			return functions.Item{}, io.EOF
		}
		next++
		if err := wait(ctx, w.inputSlow); err != nil {
			return functions.Item{}, err
		}
		return item(t, n{w.input[next-1]}), nil
	})
	_, err = p.Run(ctx, Run{Invoker: counted{do, inv}, In: in, Out: sink, EdgeItems: w.edgeItems})
	return out, err
}

// counted counts the calls that are running.
type counted struct {
	functions.Invoker
	f *fake
}

func (c counted) Invoke(ctx context.Context, call functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
	c.f.mu.Lock()
	c.f.running++
	c.f.mu.Unlock()
	defer func() {
		c.f.mu.Lock()
		c.f.running--
		c.f.mu.Unlock()
	}()
	return c.Invoker.Invoke(ctx, call, in, out)
}
