package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"

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

// tell passes an event on to who asked for it.
func (o *runOptions) tell(ev Event) {
	switch {
	case ev.Observed != nil && o.observed != nil:
		o.observed(*ev.Observed)
	case ev.Timing != nil && o.timing != nil:
		o.timing(*ev.Timing)
	}
}

// Observe calls f for every item that the given steps yield. F is called by the goroutine that runs the chain, or
// ranges over its output, between the output's items.
func Observe(f func(Observed), steps ...string) RunOption {
	return func(o *runOptions) { o.observed, o.steps = f, append(o.steps, steps...) }
}

// Timings calls f for each step at the end of a run that observes steps.
func Timings(f func(Timing)) RunOption { return func(o *runOptions) { o.timing = f } }

// Run runs a chain with in and returns its output. If O is an sdk.Stream the run begins when the stream is ranged over
// and goes on as it is: an error is its last element, and to stop ranging cancels the run. It is ranged over once. If I
// is an sdk.Stream it is ranged over by a goroutine of its own, as fast as the chain takes it, until it ends or the run
// has; Run, or the range over its output, returns after that. [Start] gives more: turns, and what is over.
func Run[I, O any](ctx context.Context, c *Client, chain sdk.Chain[I, O], in I, opts ...RunOption) (O, error) {
	var none O
	port, out, err := chain.Ports()
	if err != nil {
		return none, err
	}
	src := &source{c: c, chain: chain.Name(), schema: port.Schema}
	for _, opt := range opts {
		opt(&src.opts)
	}
	if port.Stream {
		src.push = func(ctx context.Context, sink functions.Sink) error { return sdk.Send(ctx, value.Codec{}, sink, in) }
	} else {
		// What is wrong with the input shows before anything is sent.
		cbor, refs, err := encode(port.Schema, in)
		if err != nil {
			return none, fmt.Errorf("input of chain %s: %w", chain.Name(), err)
		}
		src.push = func(ctx context.Context, sink functions.Sink) error {
			it, err := c.item(ctx, cbor, refs)
			if err != nil {
				return err
			}
			return sink.Send(ctx, it)
		}
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

// encode returns v with the blobs that it refers to.
func encode(s *functions.Schema, v any) ([]byte, []functions.Blob, error) {
	cbor, err := value.Encode(v)
	if err != nil {
		return nil, nil, err
	}
	refs, err := value.Blobs(s, cbor)
	return cbor, refs, err
}

// source is the output of a run that begins with the first Recv.
type source struct {
	c      *Client
	chain  string
	schema *functions.Schema // of the input
	push   func(ctx context.Context, sink functions.Sink) error
	opts   runOptions

	run    *duplex
	pusher sync.WaitGroup
}

// Recv returns the next item of the output.
func (s *source) Recv(ctx context.Context) (functions.Item, error) {
	if s.run == nil {
		run, err := s.c.open(ctx, &catenaryv1.Open{Chain: s.chain, Observe: s.opts.steps, Items: true})
		if err != nil {
			return functions.Item{}, err
		}
		s.run = run
		s.pusher.Go(func() {
			err := s.push(run.parent, functions.SinkFunc(s.send))
			if err != nil && !errors.Is(err, io.EOF) {
				run.cancel(fmt.Errorf("input of chain %s: %w", s.chain, err))
			}
			run.closeSend()
		})
	}
	return s.run.item(ctx, s.chain, func(ev Event) bool {
		s.opts.tell(ev)
		return false
	})
}

// send sends one item of the input with the bytes of its blobs that are held here.
func (s *source) send(ctx context.Context, it functions.Item) error {
	if it.Blobs == nil {
		refs, err := value.Blobs(s.schema, it.Value)
		if err != nil {
			return err
		}
		turn, at := it.Turn, it.Time
		if it, err = s.c.item(ctx, it.Value, refs); err != nil {
			return err
		}
		it.Turn, it.Time = turn, at
	}
	return s.run.send(ctx, &catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Item{Item: catenaryv1.NewItem(it)}})
}

func (s *source) close() {
	if s.run != nil {
		s.run.close()
		s.pusher.Wait()
	}
}
