package sdk

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// Msg is one item of a stream: a value, and what travels beside it.
type Msg[T any] struct {
	Value T
	// Turn is the utterance of the caller that the value belongs to, from 0.
	Turn uint64
	// Time is when the thing that the value tells of happened; zero if nobody said.
	Time time.Time
}

// Receiver is the input of a full-duplex implementation. One goroutine at a time may use it.
type Receiver[T any] struct {
	codec Codec
	src   functions.Source
}

// Recv waits for the next item. It returns io.EOF after the last one, and why the input broke off if it did.
func (r *Receiver[T]) Recv(ctx context.Context) (m Msg[T], err error) {
	it, err := r.src.Recv(ctx)
	if err == io.EOF {
		return m, err
	}
	if err != nil {
		return m, err
	}
	if err := r.codec.Decode(it.Value, &m.Value); err != nil {
		return m, fmt.Errorf("input: %w", err)
	}
	m.Turn, m.Time = it.Turn, it.Time
	return m, nil
}

// Sender is the output of a full-duplex implementation. It may be used from many goroutines.
type Sender[T any] struct {
	codec Codec

	mu   sync.Mutex // held while one item is sent
	sink functions.Sink
}

// Send sends one item; it waits while the reader is behind. An item of a turn that is over is dropped, and that is no
// error.
func (s *Sender[T]) Send(ctx context.Context, m Msg[T]) error {
	b, err := s.codec.Encode(m.Value)
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sink.Send(ctx, functions.Item{Value: b, Turn: m.Turn, Time: m.Time})
}

// Duplex is an implementation that reads its input and sends its output at a pace of its own, from as many goroutines as
// it likes. It returns when both are done; goroutines of its own must have ended then.
type Duplex[I, O any] func(ctx context.Context, in *Receiver[I], out *Sender[O]) error

// NewDuplexHandler ties a full-duplex implementation to its contract. It is for packages that serve implementations.
func NewDuplexHandler[I, O any](codec Codec, _ Func[Stream[I], Stream[O]], impl Duplex[I, O]) Handler {
	return func(ctx context.Context, src functions.Source, sink functions.Sink) error {
		return impl(ctx, &Receiver[I]{codec: codec, src: src}, &Sender[O]{codec: outputCodec{codec}, sink: sink})
	}
}
