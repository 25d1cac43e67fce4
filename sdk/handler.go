package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// Codec turns values into bytes and back. Package functions/value has the one for CBOR.
type Codec interface {
	Encode(v any) ([]byte, error)
	Decode(b []byte, v any) error
}

// Handler serves one call of a function: it reads the input, runs the implementation and sends what it yields.
type Handler func(ctx context.Context, in functions.Source, out functions.Sink) error

// NewHandler ties an implementation to its contract. It is for packages that serve implementations.
func NewHandler[I, O any](codec Codec, f Func[I, O], impl func(context.Context, I) (O, error)) Handler {
	return func(ctx context.Context, src functions.Source, sink functions.Sink) error {
		last := &lastItem{src: src, sink: sink}
		in, err := Receive[I](ctx, codec, last)
		if err != nil {
			return fmt.Errorf("function %s: input: %w", f.name, err)
		}
		out, err := impl(ctx, in)
		if err != nil {
			return err
		}
		return Send(ctx, outputCodec{codec}, last, out)
	}
}

// outputCodec encodes what an implementation yields: what has no encoding is its own fault, not that of its caller.
type outputCodec struct{ Codec }

// Encode implements Codec.
func (c outputCodec) Encode(v any) ([]byte, error) {
	b, err := c.Codec.Encode(v)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", functions.ErrFunction, err)
	}
	return b, nil
}

// lastItem gives every item that is sent the turn and the time of the one that was received last. It is for one
// goroutine: an implementation that returns a [Stream] reads its input and makes its output in turns.
type lastItem struct {
	src  functions.Source
	sink functions.Sink
	turn uint64
	time time.Time
}

// Recv implements functions.Source.
func (l *lastItem) Recv(ctx context.Context) (functions.Item, error) {
	it, err := l.src.Recv(ctx)
	if err == nil {
		l.turn, l.time = it.Turn, it.Time
	}
	return it, err
}

// Send implements functions.Sink.
func (l *lastItem) Send(ctx context.Context, it functions.Item) error {
	it.Turn, it.Time = l.turn, l.time
	return l.sink.Send(ctx, it)
}

// Receive reads a T from src: one value, or, if T is a [Stream], an iterator over all of them, which reads src as it is
// ranged over. It is for packages that serve functions or call chains.
func Receive[T any](ctx context.Context, codec Codec, src functions.Source) (v T, err error) {
	if stream, ok := any(v).(streamType); ok {
		return stream.receive(ctx, codec, src).(T), nil
	}
	it, err := src.Recv(ctx)
	if errors.Is(err, io.EOF) {
		return v, fmt.Errorf("%w: no value came", functions.ErrInvalid)
	}
	if err != nil {
		return v, err
	}
	return v, codec.Decode(it.Value, &v)
}

// receive returns a Stream[T] of the items of src.
func (Stream[T]) receive(ctx context.Context, codec Codec, src functions.Source) any {
	return Stream[T](func(yield func(T, error) bool) {
		for {
			var v T
			it, err := src.Recv(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil {
				err = codec.Decode(it.Value, &v)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	})
}

// Send sends v to sink: itself, or, if it is a [Stream], all that it yields, as it is ranged over. It is for packages that
// serve functions or call chains.
func Send(ctx context.Context, codec Codec, sink functions.Sink, v any) error {
	if stream, ok := v.(streamType); ok {
		return stream.send(ctx, codec, sink)
	}
	b, err := codec.Encode(v)
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return sink.Send(ctx, functions.Item{Value: b})
}

// send sends what s yields until it ends, yields an error, or can't be sent.
func (s Stream[T]) send(ctx context.Context, codec Codec, sink functions.Sink) error {
	if s == nil {
		return nil
	}
	var failed error
	s(func(v T, err error) bool {
		if failed != nil {
			return false // an iterator that does not stop when it is told to
		}
		if failed = err; err == nil {
			failed = Send(ctx, codec, sink, v)
		}
		return failed == nil
	})
	return failed
}
