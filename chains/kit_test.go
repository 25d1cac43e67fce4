package chains

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
)

// The types of the voice chain.
type (
	Transcript struct {
		Text       string  `json:"text"`
		Confidence float64 `json:"confidence"`
	}
	Sentence struct {
		Text string `json:"text"`
	}
)

func one[T any]() functions.Port { return functions.Port{Schema: functions.SchemaFor[T]()} }

func many[T any]() functions.Port {
	return functions.Port{Schema: functions.SchemaFor[T](), Stream: true}
}

// fn returns the manifest of a function.
func fn(name string, in, out functions.Port, models ...string) *functions.Manifest {
	return &functions.Manifest{
		Name: name, Kind: functions.KindWASM, Artifact: functions.DigestOf([]byte(name)),
		In: in, Out: out, Uses: functions.Uses{Models: models},
	}
}

func byName(fns ...*functions.Manifest) map[string]*functions.Manifest {
	m := map[string]*functions.Manifest{}
	for _, f := range fns {
		m[f.Name] = f
	}
	return m
}

// models returns a model for every name that fns use.
func models(fns map[string]*functions.Manifest) map[string]*functions.Model {
	m := map[string]*functions.Model{}
	for _, f := range fns {
		for _, name := range f.Uses.Models {
			m[name] = &functions.Model{Name: name, Engine: "llama", File: functions.DigestOf([]byte(name))}
		}
	}
	return m
}

func voiceFns() map[string]*functions.Manifest {
	return byName(
		fn("transcribe", one[functions.Audio](), one[Transcript]()),
		fn("sorry", one[Transcript](), many[Sentence]()),
		fn("answer", one[Transcript](), many[Sentence](), "llm"),
		fn("speak", one[Sentence](), one[functions.Audio]()),
	)
}

func call(fn, from string) spec.Step {
	return spec.Step{Name: fn, Op: spec.OpCall, Func: fn, From: from}
}

func each(fn, from string) spec.Step {
	return spec.Step{Name: fn, Op: spec.OpEach, Func: fn, From: from}
}

func last(from string) spec.Step { return spec.Step{Name: "last", Op: spec.OpLast, From: from} }

func as(name string, st spec.Step) spec.Step {
	st.Name = name
	return st
}

func pick(from string, cases ...spec.Case) spec.Step {
	return spec.Step{Name: "route", Op: spec.OpSwitch, From: from, Cases: cases}
}

// when returns a case that ends with the last of its steps; "" is the else.
func when(expr string, steps ...spec.Step) spec.Case {
	return spec.Case{When: expr, Steps: steps, Out: steps[len(steps)-1].Name}
}

// pass returns a case that yields a step from around the switch.
func pass(expr, out string) spec.Case { return spec.Case{When: expr, Out: out} }

// chain returns a chain named test that ends with the last of its steps.
func chain(steps ...spec.Step) spec.Chain {
	return spec.Chain{Name: "test", Steps: steps, Out: steps[len(steps)-1].Name}
}

func voiceChain() spec.Chain {
	c := chain(
		call("transcribe", "in"),
		pick("transcribe",
			when(`it.text == "" || it.confidence < 0.35`, call("sorry", "transcribe")),
			when("", call("answer", "transcribe")),
		),
		each("speak", "route"),
	)
	c.Name = "voice"
	return c
}

func compile(t testing.TB, c spec.Chain, fns map[string]*functions.Manifest) *Plan {
	t.Helper()
	g, err := NewGraph(c, fns, models(fns))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(g, fns)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func cborOf(t testing.TB, v any) []byte {
	t.Helper()
	b, err := value.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func item(t testing.TB, v any) functions.Item { return functions.Item{Value: cborOf(t, v)} }

func decode[T any](t testing.TB, it functions.Item) T {
	t.Helper()
	var v T
	if err := value.Decode(it.Value, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// impl is what a function of the fake invoker does with its item.
type impl func(ctx context.Context, in functions.Item, send func(functions.Item) error) error

// fake is an invoker whose functions are Go funcs. It counts what it is asked for.
type fake struct {
	impls   map[string]impl
	onWake  func(ctx context.Context, fns, models []functions.Ref) error
	timings map[string]functions.Timing

	mu      sync.Mutex // guards the fields below
	calls   map[string]int
	running int
	wakes   [][]string // names of functions, then of models, of each wake
	seen    []functions.Call
}

func (f *fake) Invoke(ctx context.Context, call functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
	f.mu.Lock()
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[call.Step]++
	f.seen = append(f.seen, call)
	f.running++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.running--
		f.mu.Unlock()
	}()
	timing := f.timings[call.Ref.Name]
	it, err := in.Recv(ctx)
	if err != nil {
		return timing, err
	}
	if _, err := in.Recv(ctx); err != io.EOF {
		return timing, fmt.Errorf("a second item or no end: %v", err)
	}
	do := f.impls[call.Ref.Name]
	if do == nil {
		return timing, errors.New("no such function")
	}
	return timing, do(ctx, it, func(it functions.Item) error { return out.Send(ctx, it) })
}

func (f *fake) Wake(ctx context.Context, fns, models []functions.Ref) error {
	var names []string
	for _, r := range slices.Concat(fns, models) {
		names = append(names, r.Name)
	}
	f.mu.Lock()
	f.wakes = append(f.wakes, names)
	f.mu.Unlock()
	if f.onWake != nil {
		return f.onWake(ctx, fns, models)
	}
	return nil
}

// woken returns what has been asked to wake so far.
func (f *fake) woken() [][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.wakes)
}

func (f *fake) called() []string { return slices.Sorted(maps.Keys(f.calls)) }

// collector is a sink that keeps what it gets.
type collector struct{ items []functions.Item }

func (c *collector) Send(ctx context.Context, it functions.Item) error {
	c.items = append(c.items, it)
	return nil
}

// apply makes an impl of a func from one value to one value.
func apply[I, O any](t testing.TB, f func(I) O) impl {
	return func(_ context.Context, in functions.Item, send func(functions.Item) error) error {
		return send(item(t, f(decode[I](t, in))))
	}
}

// emit makes an impl of a func from one value to many.
func emit[I, O any](t testing.TB, f func(I) []O) impl {
	return func(_ context.Context, in functions.Item, send func(functions.Item) error) error {
		for _, v := range f(decode[I](t, in)) {
			if err := send(item(t, v)); err != nil {
				return err
			}
		}
		return nil
	}
}

// hang waits for the end of its context, and says nothing of why.
func hang(ctx context.Context, _ functions.Item, _ func(functions.Item) error) error {
	<-ctx.Done()
	return errors.New("killed")
}

// sleep makes an impl wait before it does the rest.
func sleep(d time.Duration, rest impl) impl {
	return func(ctx context.Context, in functions.Item, send func(functions.Item) error) error {
		select {
		case <-time.After(d):
			return rest(ctx, in, send)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
