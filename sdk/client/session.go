package client

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
	"github.com/catenary-run/catenary/sdk"
)

// Session is a run in full duplex: what the chain yields comes while its input is still sent. One goroutine at a time
// may receive, and any may send and interrupt meanwhile. Close it when you are done; a session that is not over ends then.
type Session[I, O any] struct {
	chain  string
	schema *functions.Schema // of the input
	run    *duplex
	opts   runOptions
}

// Reply is what a session receives: an item, or, if TurnOver is set, the news that Turn was interrupted and that nothing
// of it comes any more.
type Reply[O any] struct {
	sdk.Msg[O]
	Seq      uint64 // of the item: they count one by one, but for those that were dropped
	TurnOver bool
}

// Start begins a run of a chain from a stream to a stream. It goes on until its input and its output have ended, it is
// closed, or ctx ends; the deadline of ctx is the run's. When that is up, what the server says of it is waited for, up to
// half a second: its error is a [*sdk.StepError] that names the step, and wraps context.DeadlineExceeded.
func Start[I, O any](ctx context.Context, c *Client, chain sdk.Chain[sdk.Stream[I], sdk.Stream[O]], opts ...RunOption) (*Session[I, O], error) {
	port, _, err := chain.Ports()
	if err != nil {
		return nil, err
	}
	s := &Session[I, O]{chain: chain.Name(), schema: port.Schema}
	for _, opt := range opts {
		opt(&s.opts)
	}
	if s.run, err = c.open(ctx, &catenaryv1.Open{Chain: s.chain, Observe: s.opts.steps, Items: true}); err != nil {
		return nil, err
	}
	return s, nil
}

// Send sends one item of the input; it waits while the chain is behind. Where a step of the chain opens turns, the turn of
// m says nothing; elsewhere turns count one by one. After the run has ended it returns io.EOF: how it ended, tells Recv.
// If ctx ends meanwhile, the session does.
func (s *Session[I, O]) Send(ctx context.Context, m sdk.Msg[I]) error {
	cbor, refs, err := encode(s.schema, m.Value)
	if err != nil {
		return fmt.Errorf("input of chain %s: %w", s.chain, err)
	}
	it, err := s.run.c.item(ctx, cbor, refs)
	if err != nil {
		return fmt.Errorf("input of chain %s: %w", s.chain, err)
	}
	it.Turn, it.Time = m.Turn, m.Time
	return s.run.send(ctx, &catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Item{Item: catenaryv1.NewItem(it)}})
}

// CloseSend ends the input.
func (s *Session[I, O]) CloseSend() { s.run.closeSend() }

// Interrupt makes turn and all before it over: nothing of them comes after the reply that says so, and the session
// goes on. A turn that has begun is over at once, however much was sent and is not taken yet, and after CloseSend,
// too; one that begins with an item that was sent before is over as it begins; of later ones the newest that has begun is taken. It
// waits for the run to begin, and returns io.EOF if the run has ended before that; if ctx ends meanwhile, the session
// may, too. It returns an error wrapping functions.ErrNotFound if the run has ended since, or if a proxy led the call
// to another server than the run.
func (s *Session[I, O]) Interrupt(ctx context.Context, turn uint64) error {
	return s.run.interrupt(ctx, turn)
}

// Recv waits for what comes next. It returns io.EOF when the run has ended well, and why it failed if it did. If ctx ends
// meanwhile, the session does.
func (s *Session[I, O]) Recv(ctx context.Context) (r Reply[O], err error) {
	var over *TurnOver
	it, err := s.run.item(ctx, s.chain, func(ev Event) bool {
		s.opts.tell(ev)
		over = ev.TurnOver
		return over != nil
	})
	if err != nil {
		return r, err
	}
	if over != nil {
		r.Turn, r.TurnOver = over.Turn, true
		return r, nil
	}
	if err := value.Decode(it.Value, &r.Value); err != nil {
		return r, fmt.Errorf("output of chain %s: %w", s.chain, err)
	}
	r.Seq, r.Turn, r.Time = it.Seq, it.Turn, it.Time
	return r, nil
}

// Close ends the run if it goes on, and waits until nothing of it is left here. No other method may run meanwhile, or be
// called after it.
func (s *Session[I, O]) Close() { s.run.close() }

// Stream is a [Session] without types.
type Stream struct{ run *duplex }

// Input is one item of an input.
type Input struct {
	JSON json.RawMessage // a blob may be {"data":BASE64,"type":TYPE}
	Turn uint64
	Time time.Time // zero: nobody says
}

// OpenStream begins a run in full duplex that goes on until its input and its output have ended, it is closed, or ctx ends;
// the deadline of ctx is the run's. What the given steps yield comes, too.
func (c *Client) OpenStream(ctx context.Context, chain string, observe ...string) (*Stream, error) {
	run, err := c.open(ctx, &catenaryv1.Open{Chain: chain, Observe: observe})
	if err != nil {
		return nil, err
	}
	return &Stream{run}, nil
}

// Send sends one item; see [Session.Send].
func (s *Stream) Send(ctx context.Context, in Input) error {
	m := &catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Json{Json: in.JSON}, Turn: in.Turn}
	if !in.Time.IsZero() {
		m.TimeUnixNanos = in.Time.UnixNano()
	}
	return s.run.send(ctx, m)
}

// CloseSend ends the input.
func (s *Stream) CloseSend() { s.run.closeSend() }

// Interrupt makes turn and all before it over; see [Session.Interrupt].
func (s *Stream) Interrupt(ctx context.Context, turn uint64) error {
	return s.run.interrupt(ctx, turn)
}

// Recv waits for what comes next; see [Session.Recv].
func (s *Stream) Recv(ctx context.Context) (Event, error) { return s.run.event(ctx) }

// Close ends the run if it goes on; see [Session.Close].
func (s *Stream) Close() { s.run.close() }
