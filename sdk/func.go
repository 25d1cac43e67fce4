package sdk

import (
	"context"
	"fmt"
	"iter"
	"reflect"

	"github.com/catenary-run/catenary/functions"
)

// Blob refers to bytes that travel beside a value. Read it with [ReadBlob], make one with [NewBlob].
type Blob = functions.Blob

// Audio is a blob of audio/wav.
type Audio = functions.Audio

// StepError says which step of which chain failed.
type StepError = functions.StepError

// Stream is any number of values of T, as a Go iterator: range over it. A function returns one to send values as they
// come; an error that it yields is its last element and ends the call. It is ranged over once.
type Stream[T any] func(yield func(T, error) bool)

// StreamOf makes a Stream of an iterator that can't fail.
func StreamOf[T any](seq iter.Seq[T]) Stream[T] {
	return func(yield func(T, error) bool) {
		for v := range seq {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// streamElem tells a Stream from other types, and its element, without knowing T.
func (Stream[T]) streamElem() reflect.Type { return reflect.TypeFor[T]() }

// streamType is a Stream of some type.
type streamType interface {
	streamElem() reflect.Type
	receive(ctx context.Context, codec Codec, src functions.Source) any
	send(ctx context.Context, codec Codec, sink functions.Sink) error
}

// elem returns the type of the values on a side of type t, and whether it is a stream.
func elem(t reflect.Type) (reflect.Type, bool) {
	if t.Implements(reflect.TypeFor[streamType]()) {
		return reflect.Zero(t).Interface().(streamType).streamElem(), true
	}
	return t, false
}

// Func is a function's contract: its name and the Go types of its sides. The zero value is not usable.
type Func[I, O any] struct {
	_     [0]func(I) O // no conversion from a Func of other types
	name  string
	turns bool
}

// NewFunc returns the handle of the function with that name. A side of type Stream[T] is a stream of T.
func NewFunc[I, O any](name string) Func[I, O] { return Func[I, O]{name: name} }

// OpensTurns returns f as a function that opens turns: what it yields may belong to the turn after the newest one, as
// that of a recogniser does when the caller begins to speak. Both its sides must be streams.
func (f Func[I, O]) OpensTurns() Func[I, O] {
	f.turns = true
	return f
}

// Name returns the function's name.
func (f Func[I, O]) Name() string { return f.name }

// Ports returns the function's sides with their schemas. The error names the side whose type has none.
func (f Func[I, O]) Ports() (in, out functions.Port, err error) {
	if in, err = port[I](); err != nil {
		return in, out, fmt.Errorf("function %s: input: %w", f.name, err)
	}
	if out, err = port[O](); err != nil {
		return in, out, fmt.Errorf("function %s: output: %w", f.name, err)
	}
	return in, out, nil
}

func port[T any]() (functions.Port, error) {
	t, stream := elem(reflect.TypeFor[T]())
	s, err := functions.SchemaOf(t)
	return functions.Port{Schema: s, Stream: stream}, err
}
