package chains

import (
	"context"
	"errors"
	"fmt"
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
		c := randomChain(rt)
		fns := numberFns()
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
		w := randomWorld(rt, p)
		want, faulty := w.interpret(c)

		var out []int
		var inv fake
		synctest.Test(t, func(t *testing.T) {
			out, err = w.run(t, p, &inv)
		})
		switch {
		case inv.running != 0:
			rt.Fatalf("%d calls go on after the run", inv.running)
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
	if ran["well"] == 0 || ran["failed"]+ran["cancelled"] == 0 {
		t.Error("no chain went well, or none failed: the test has lost its force")
	}
}

var (
	errInjected = errors.New("injected")
	errHungUp   = errors.New("hung up")
)

// randomChain returns a chain over n that is well wired, though its switches may wait for streams that they read.
func randomChain(t *rapid.T) spec.Chain {
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
			op := rapid.SampledFrom([]string{"inc", "inc", "count", "each", "last", "switch"}).Draw(t, "op")
			name := fmt.Sprintf("%s%d", op, count)
			unary, _ := pickVal(scope, false)
			stream, hasStream := pickVal(scope, true)
			switch {
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
					cs.When = fmt.Sprintf("it.n %% 3 == %d || in.n == %d", i, i)
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
			unary, _ := pickVal(scope, false)
			add(as(fmt.Sprintf("count%d", count), call("count", unary.name)), true)
			out = scope[len(scope)-1]
		}
		return steps, out.name
	}
	// The first step makes sure that the input has a type.
	steps, out := block([]val{{"in", false}, {"first", false}}, rapid.IntRange(1, 8).Draw(t, "size"), 0, rapid.Bool().Draw(t, "stream"))
	c := spec.Chain{Name: "test", Steps: append([]spec.Step{as("first", call("inc", "in"))}, steps...), Out: out}
	return readAll(t, c, streams)
}

// readAll makes somebody read every step of c, as every chain must: a switch at the end reads some of those that nobody
// reads, so that steps work beside the output; the others are removed, with what only they read. Streams are the steps
// that yield one.
func readAll(t *rapid.T, c spec.Chain, streams map[string]bool) spec.Chain {
	for {
		unread := map[string]bool{}
		for _, st := range c.Unread() {
			unread[st.Name] = true
		}
		if len(unread) == 0 {
			return c
		}
		for i, st := range c.Steps {
			// The last of an empty stream fails, and so would its reader; that is a matter for other draws.
			if unread[st.Name] && !streams[st.Name] && (st.Name == "first" || rapid.IntRange(0, 3).Draw(t, "read") > 0) {
				join := spec.Step{Name: fmt.Sprintf("join%d-%d", len(c.Steps), i), Op: spec.OpSwitch, From: st.Name, Cases: []spec.Case{
					{When: "it.n % 3 == 0 || in.n == 0", Out: c.Out}, {Out: c.Out},
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
	input       int
	fails       map[string]int // a step fails at inputs that are so modulo 11
	slow        map[string]time.Duration
	sinkSlow    time.Duration
	edgeItems   int
	cancelAfter time.Duration
}

func randomWorld(t *rapid.T, p *Plan) world {
	w := world{
		input:     rapid.IntRange(0, 20).Draw(t, "input"),
		fails:     map[string]int{},
		slow:      map[string]time.Duration{},
		edgeItems: rapid.IntRange(1, 4).Draw(t, "edge"),
		sinkSlow:  time.Duration(rapid.IntRange(0, 3).Draw(t, "sink")) * time.Second,
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

// interpret evaluates c one step after the other. It returns what the chain gives, if nothing fails, and which steps
// fail by themselves: some of them after what they gave, and what reads it may fail at that too.
func (w world) interpret(c spec.Chain) (out []int, faulty []string) {
	type result struct {
		items []int
		ended bool // by itself, not because something failed
	}
	known := map[string]result{spec.Input: {[]int{w.input}, true}}
	var block func([]spec.Step)
	block = func(steps []spec.Step) {
		for _, st := range steps {
			from := known[st.From]
			r := result{ended: from.ended}
			switch st.Op {
			case spec.OpCall, spec.OpEach:
				for _, v := range from.items {
					items, failed := w.apply(st, v)
					r.items = append(r.items, items...)
					if failed {
						faulty = append(faulty, st.Name)
						r.ended = false
						break
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
					if cs.When == "" || from.items[0]%3 == i || w.input == i {
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
	return known[c.Out].items, faulty
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
		it, err := src.Recv(ctx)
		if err != nil {
			return functions.Timing{}, err
		}
		items, failed := w.apply(steps[c.Step], decode[n](t, it).N)
		for _, v := range items {
			if err := wait(ctx, w.slow[c.Step]); err != nil {
				return functions.Timing{}, err
			}
			if err := sink.Send(ctx, item(t, n{v})); err != nil {
				return functions.Timing{}, err
			}
		}
		if failed {
			return functions.Timing{}, fmt.Errorf("at %d: %w", len(items), errInjected)
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
	_, err = p.Run(ctx, Run{Invoker: counted{do, inv}, In: item(t, n{w.input}), Out: sink, EdgeItems: w.edgeItems})
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
