package sdktest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sdk"
)

// Option is what [Run] needs beside the chain and its input: the result of [Bind] or [Model], or a *[Blobs].
type Option interface{ apply(*bench) error }

// Run runs c on in and returns what it yields. If that is a stream, the run has ended when Run returns, and the stream
// holds all its items; if there is an error, those that had come out until then. The error is that of the run: a *[sdk.StepError], or what is
// wrong with the chain's CEL or types. The test fails at once if the options leave something out.
func Run[I, O any](t testing.TB, c sdk.Chain[I, O], in I, options ...Option) (out O, err error) {
	t.Helper()
	b := newBench(t, c.Spec(), options)
	plan, err := b.plan(c.Spec())
	if err != nil {
		return out, err
	}
	src, stop := b.input(t, c.Name(), plan.In(), in)
	defer stop()
	var items []functions.Item
	_, err = plan.Run(t.Context(), chains.Run{
		ID: t.Name(), Invoker: b, In: src,
		Out: functions.SinkFunc(func(_ context.Context, it functions.Item) error {
			items = append(items, it)
			b.blobs.keep(it.Blobs)
			return nil
		}),
	})
	_, port, portErr := c.Ports()
	if portErr != nil {
		return out, portErr
	}
	if err != nil && !port.Stream {
		return out, err
	}
	out, decodeErr := sdk.Receive[O](t.Context(), value.Codec{}, functions.Items(items...))
	if err == nil {
		err = decodeErr
	}
	return out, err
}

// Check compiles c against the options as [Run] does, and returns what is wrong with its CEL or types.
func Check[I, O any](t testing.TB, c sdk.Chain[I, O], options ...Option) error {
	t.Helper()
	_, err := newBench(t, c.Spec(), options).plan(c.Spec())
	return err
}

// bench is what a chain runs on in a test. It is a functions.Invoker.
type bench struct {
	t         testing.TB
	functions map[string]*binding
	manifests map[string]*functions.Manifest
	models    map[string]func(functions.Generation) []string
	blobs     *Blobs
}

func newBench(t testing.TB, c spec.Chain, options []Option) *bench {
	t.Helper()
	b := &bench{t: t, functions: map[string]*binding{}, manifests: map[string]*functions.Manifest{}, models: map[string]func(functions.Generation) []string{}}
	for _, o := range options {
		if err := o.apply(b); err != nil {
			t.Fatalf("sdktest: %v", err)
		}
	}
	if b.blobs == nil {
		b.blobs = &Blobs{}
	}
	var unbound []string
	c.Walk(func(st spec.Step) {
		if st.Func != "" && b.functions[st.Func] == nil && !slices.Contains(unbound, st.Func) {
			unbound = append(unbound, st.Func)
		}
	})
	if unbound != nil {
		t.Fatalf("sdktest: chain %s calls functions that are not bound: %s; pass sdktest.Bind(FUNC, impl) for each",
			c.Name, strings.Join(unbound, ", "))
	}
	return b
}

// plan compiles the chain with manifests made of what is bound.
func (b *bench) plan(c spec.Chain) (*chains.Plan, error) {
	models := map[string]*functions.Model{}
	var names []string
	for name := range b.models {
		models[name] = &functions.Model{Name: name, Engine: "llama", File: functions.DigestOf([]byte(name))}
		names = append(names, name)
	}
	slices.Sort(names)
	for name, f := range b.functions {
		b.manifests[name] = &functions.Manifest{
			Name: name, Kind: functions.KindWASM, Artifact: functions.DigestOf([]byte(name)),
			In: f.in, Out: f.out, Turns: f.turns, Uses: functions.Uses{Models: names},
		}
	}
	g, err := chains.NewGraph(c, b.manifests, models)
	if err != nil {
		return nil, err
	}
	return chains.Compile(g, b.manifests)
}

// input returns what a door would have made of in, and what ends it.
func (b *bench) input(t testing.TB, chain string, port functions.Port, in any) (src functions.Source, stop func()) {
	t.Helper()
	edge := functions.NewStream(0, 0)
	sink := functions.SinkFunc(func(ctx context.Context, it functions.Item) error {
		it, err := b.item(port.Schema, it.Value, b.blobs)
		if err != nil {
			return fmt.Errorf("sdktest: chain %s: input: %w", chain, err)
		}
		return edge.Send(ctx, it)
	})
	if !port.Stream {
		if err := sdk.Send(t.Context(), value.Codec{}, sink, in); err != nil {
			t.Fatalf("%v", err)
		}
		edge.CloseSend(nil)
		return edge, func() {}
	}
	var feeding sync.WaitGroup
	feeding.Go(func() { edge.CloseSend(sdk.Send(t.Context(), value.Codec{}, sink, in)) })
	return edge, func() {
		edge.CloseRecv(nil)
		feeding.Wait()
	}
}

// item checks v and adds the blobs that it refers to, as found in from.
func (b *bench) item(s *functions.Schema, v []byte, from interface {
	find(functions.Digest) (functions.Attachment, bool)
}) (functions.Item, error) {
	refs, err := value.CheckBlobs(s, v)
	if err != nil {
		return functions.Item{}, err
	}
	it := functions.Item{Value: v}
	for _, ref := range refs {
		a, ok := from.find(ref.Digest)
		if !ok {
			return functions.Item{}, fmt.Errorf("%w: the value refers to blob %s, which nobody made: use sdktest.Blobs for the input, sdk.NewBlob in a function",
				functions.ErrInvalid, ref.Digest.Short())
		}
		it.Blobs = append(it.Blobs, a)
	}
	return it, nil
}
