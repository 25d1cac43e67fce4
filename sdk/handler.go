package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"

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
		in, err := Receive[I](ctx, codec, src)
		if err != nil {
			return fmt.Errorf("function %s: input: %w", f.name, err)
		}
		out, err := impl(ctx, in)
		if err != nil {
			return err
		}
		return send(ctx, codec, sink, out)
	}
}

// Receive reads a T from src: one value, or, if T is a [Stream], an iterator over all of them, which reads src as it is
// ranged over. It is for packages that serve functions or call chains.
func Receive[T any](ctx context.Context, codec Codec, src functions.Source) (in T, err error) {
	t := reflect.TypeFor[T]()
	if _, stream := elem(t); stream {
		reflect.ValueOf(&in).Elem().Set(reflect.MakeFunc(t, func(args []reflect.Value) []reflect.Value {
			receiveAll(ctx, codec, src, args[0])
			return nil
		}))
		return in, nil
	}
	it, err := src.Recv(ctx)
	if errors.Is(err, io.EOF) {
		return in, fmt.Errorf("%w: no value came", functions.ErrInvalid)
	}
	if err != nil {
		return in, err
	}
	return in, codec.Decode(it.Value, &in)
}

// receiveAll calls yield, a func(T, error) bool, for each item of src.
func receiveAll(ctx context.Context, codec Codec, src functions.Source, yield reflect.Value) {
	t := yield.Type().In(0)
	noError := reflect.Zero(reflect.TypeFor[error]())
	for {
		it, err := src.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return
		}
		v := reflect.New(t)
		if err == nil {
			err = codec.Decode(it.Value, v.Interface())
		}
		if err != nil {
			yield.Call([]reflect.Value{v.Elem(), reflect.ValueOf(&err).Elem()})
			return
		}
		if !yield.Call([]reflect.Value{v.Elem(), noError})[0].Bool() {
			return
		}
	}
}

// send sends an O: one value, or all that the iterator yields.
func send(ctx context.Context, codec Codec, sink functions.Sink, out any) error {
	t := reflect.TypeOf(out)
	if t == nil {
		return sendValue(ctx, codec, sink, out)
	}
	if _, stream := elem(t); !stream {
		return sendValue(ctx, codec, sink, out)
	}
	v := reflect.ValueOf(out)
	if v.IsNil() {
		return nil
	}
	var err error
	yield := reflect.MakeFunc(t.In(0), func(args []reflect.Value) []reflect.Value {
		if e, _ := args[1].Interface().(error); e != nil {
			err = e
		} else {
			err = sendValue(ctx, codec, sink, args[0].Interface())
		}
		return []reflect.Value{reflect.ValueOf(err == nil)}
	})
	v.Call([]reflect.Value{yield})
	return err
}

func sendValue(ctx context.Context, codec Codec, sink functions.Sink, v any) error {
	b, err := codec.Encode(v)
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return sink.Send(ctx, functions.Item{Value: b})
}
