package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
	"github.com/catenary-run/catenary/sdk"
)

// RunOption changes one run.
type RunOption func(*runOptions)

type runOptions struct {
	steps    []string
	observed func(Observed)
	timing   func(Timing)
}

// Observe calls f for every item that the given steps yield. F is called by the goroutine that runs the chain, or
// ranges over its output, between the output's items.
func Observe(f func(Observed), steps ...string) RunOption {
	return func(o *runOptions) { o.observed, o.steps = f, append(o.steps, steps...) }
}

// Timings calls f for each step at the end of a run that observes steps.
func Timings(f func(Timing)) RunOption { return func(o *runOptions) { o.timing = f } }

// Run runs a chain with in and returns its output. If O is an sdk.Stream the run begins when the stream is ranged over
// and goes on as it is: an error is its last element, and to stop ranging cancels the run. It is ranged over once.
func Run[I, O any](ctx context.Context, c *Client, chain sdk.Chain[I, O], in I, opts ...RunOption) (O, error) {
	var none O
	port, out, err := chain.Ports()
	if err != nil {
		return none, err
	}
	cbor, err := value.Encode(in)
	if err != nil {
		return none, fmt.Errorf("input of chain %s: %w", chain.Name(), err)
	}
	refs, err := value.Blobs(port.Schema, cbor)
	if err != nil {
		return none, fmt.Errorf("input of chain %s: %w", chain.Name(), err)
	}
	src := &source{c: c, chain: chain.Name(), cbor: cbor, refs: refs}
	for _, opt := range opts {
		opt(&src.opts)
	}
	if out.Stream {
		got, err := sdk.Receive[O](ctx, value.Codec{}, src)
		if err != nil {
			return none, err
		}
		return closing(got, src.close), nil
	}
	defer src.close()
	got, err := sdk.Receive[O](ctx, value.Codec{}, src)
	if err != nil {
		return none, err
	}
	// The run has ended well only when its end has come.
	if _, err := src.Recv(ctx); err == nil {
		return none, fmt.Errorf("%w: chain %s gave more than one value; is another version of it deployed?", functions.ErrInvalid, chain.Name())
	} else if !errors.Is(err, io.EOF) {
		return none, err
	}
	return got, nil
}

// closing returns stream, a func(yield), with end called after it has been ranged over.
func closing[O any](stream O, end func()) (wrapped O) {
	inner := reflect.ValueOf(stream)
	reflect.ValueOf(&wrapped).Elem().Set(reflect.MakeFunc(inner.Type(), func(args []reflect.Value) []reflect.Value {
		defer end()
		return inner.Call(args)
	}))
	return wrapped
}

// source is the output of a run that begins with the first Recv.
type source struct {
	c     *Client
	chain string
	cbor  []byte
	refs  []functions.Blob
	opts  runOptions
	reply *reply
}

// Recv returns the next item of the output.
func (s *source) Recv(ctx context.Context) (functions.Item, error) {
	if s.reply == nil {
		in, err := s.c.item(ctx, s.cbor, s.refs)
		if err != nil {
			return functions.Item{}, err
		}
		s.reply, err = s.c.open(ctx, &catenaryv1.Open{Chain: s.chain, Observe: s.opts.steps, Items: true},
			&catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Item{Item: catenaryv1.NewItem(in)}})
		if err != nil {
			return functions.Item{}, err
		}
	}
	for {
		m, err := s.reply.message()
		if err != nil {
			return functions.Item{}, err
		}
		switch k := m.Kind.(type) {
		case *catenaryv1.StreamResponse_Item:
			it, err := k.Item.GetItem().Functions()
			if err != nil {
				return functions.Item{}, fmt.Errorf("output of chain %s: %w", s.chain, err)
			}
			for _, a := range it.Blobs {
				s.c.held.put(a)
			}
			return it, nil
		case *catenaryv1.StreamResponse_Observed:
			if s.opts.observed != nil {
				s.opts.observed(Observed{Step: k.Observed.Step, Seq: k.Observed.Seq, JSON: k.Observed.Json})
			}
		case *catenaryv1.StreamResponse_Timing:
			if s.opts.timing != nil {
				s.opts.timing(newTiming(k.Timing))
			}
		}
	}
}

func (s *source) close() {
	if s.reply != nil {
		s.reply.close()
	}
}
