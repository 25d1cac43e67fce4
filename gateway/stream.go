package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

const (
	// chunkBytes is the size of a piece of a blob in Stream's reply: large enough that its frame costs nothing, small
	// enough that an item behind it does not wait long.
	chunkBytes = 256 << 10
	// closeGrace is how long a caller of Stream may take to close its side once it has the end. Its messages are read
	// until then: HTTP/2 answers what nobody reads with a reset, which could overtake the end.
	closeGrace = 2 * time.Second
)

type duplex = connect.BidiStream[catenaryv1.StreamRequest, catenaryv1.StreamResponse]

// Stream runs a chain in full duplex. A failure is a Connect error. If the run had begun the last message has it, too,
// after what the steps took.
func (c *chainService) Stream(ctx context.Context, stream *duplex) error {
	err := c.s.streamRun(ctx, stream)
	if err != nil {
		return c.s.publicError(ctx, err)
	}
	return nil
}

func (s *Server) streamRun(ctx context.Context, stream *duplex) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	line := lineOf(ctx)
	limit, stop := limited(ctx, s.cfg.CallTimeout) // of the opening, and of the run if nothing of it is a stream
	defer stop()
	open, ch, err := s.openStream(limit, stream, line)
	if err != nil {
		s.metrics.answered("stream", err)
		return err
	}
	defer s.metrics.stream("stream")()
	rep := &replies{stream: stream, line: line, gone: func(err error) { cancel(errGone(err)) }}
	r := run{
		// What a client lets go of one answer it may ask for again; of a stream without an end nobody could hold it.
		id: newID(), door: "stream", chain: ch, bytes: ch.In().Stream, hurry: line.hurry, idle: s.cfg.StreamIdle,
		out: func(_ context.Context, it functions.Item) error { return rep.item(ch.Out().Schema, it, open.Items) },
	}
	r.tell(rep, open.Observe, cancel)
	runCtx := ctx
	if !ch.flows() {
		runCtx = limit
	}
	if !ch.In().Stream {
		it, err := s.onlyInput(limit, stream, line, ch)
		in := newIntake(!ch.opens)
		if err == nil {
			err = in.push(limit, it)
		}
		if err != nil {
			s.metrics.answered("stream", err)
			return err
		}
		in.queue.CloseSend(nil)
		r.in = in
		if ch.flows() {
			line.flow(s.cfg.StreamIdle + writeGrace)
		}
		defer context.AfterFunc(runCtx, line.hurry)()
		report, err := s.execute(runCtx, r)
		return s.endStream(runCtx, rep, open, report, err)
	}

	line.flow(s.cfg.StreamIdle + writeGrace)
	defer context.AfterFunc(ctx, line.hurry)()
	in := newIntake(!ch.opens)
	r.in = in
	rn, err := s.start(ctx, r)
	if err != nil {
		s.metrics.answered("stream", err)
		return err
	}
	var reader sync.WaitGroup
	closed := make(chan struct{})
	reader.Go(func() {
		defer close(closed)
		s.readStream(ctx, stream, ch, in)
	})
	report, err := rn.wait()
	in.queue.CloseRecv(nil) // what still comes is dropped
	err = s.endStream(ctx, rep, open, report, err)
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-closed:
	case <-ctx.Done():
	case <-grace.C:
	}
	line.stopReading()
	reader.Wait()
	return err
}

// endStream tells the caller how the run ended. It returns why the call fails: failed, or that the caller is gone.
func (s *Server) endStream(ctx context.Context, rep *replies, open *catenaryv1.Open, report chains.Report, failed error) error {
	s.metrics.answered("stream", failed)
	end := &catenaryv1.End{Graph: string(report.Graph)}
	if failed != nil {
		rep.line.hurry()
		shown := s.public(ctx, failed)
		end.Error, failed = catenaryv1.NewFailure(shown), WireError(shown)
	}
	if len(open.Observe) > 0 {
		for _, t := range timings(report) {
			if err := rep.write(&catenaryv1.StreamResponse{Kind: &catenaryv1.StreamResponse_Timing{Timing: t}}); err != nil {
				return err
			}
		}
	}
	if err := rep.write(&catenaryv1.StreamResponse{Kind: &catenaryv1.StreamResponse_End{End: end}}); err != nil {
		return err
	}
	return failed
}

// openStream reads the first message.
func (s *Server) openStream(ctx context.Context, stream *duplex, line *line) (*catenaryv1.Open, *chain, error) {
	first, err := receive(ctx, stream, line, "open")
	if err != nil {
		return nil, nil, err
	}
	open := first.GetOpen()
	if open == nil {
		return nil, nil, fmt.Errorf("%w: the first message must be open", functions.ErrInvalid)
	}
	ch, err := s.chains.resolve(ctx, open.Chain)
	if err != nil {
		return nil, nil, err
	}
	return open, ch, ch.observable(open.Observe)
}

// onlyInput reads the input of a chain that takes one value, and its end.
func (s *Server) onlyInput(ctx context.Context, stream *duplex, line *line, ch *chain) (functions.Item, error) {
	m, err := receive(ctx, stream, line, "the input")
	if err != nil {
		return functions.Item{}, err
	}
	in, err := s.inputMessage(ctx, ch.In().Schema, m)
	if err != nil {
		return functions.Item{}, err
	}
	_, err = receive(ctx, stream, line, "")
	switch {
	case err == nil:
		return in, fmt.Errorf("%w: chain %s takes one input; close your side after it", functions.ErrInvalid, ch.name())
	case !errors.Is(err, io.EOF):
		return in, err
	}
	return in, nil
}

// receive reads one message, until ctx ends. What is it for the error if the caller closes its side instead; io.EOF if
// what is empty.
func receive(ctx context.Context, stream *duplex, line *line, what string) (*catenaryv1.StreamRequest, error) {
	defer context.AfterFunc(ctx, line.stopReading)()
	m, err := stream.Receive()
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	switch {
	case errors.Is(err, io.EOF) && what != "":
		return nil, fmt.Errorf("%w: the stream ended before %s", functions.ErrInvalid, what)
	case err != nil && !errors.Is(err, io.EOF):
		return nil, brokenInput(err)
	}
	return m, err
}

// inputMessage returns the item that a message carries.
func (s *Server) inputMessage(ctx context.Context, schema *functions.Schema, m *catenaryv1.StreamRequest) (it functions.Item, err error) {
	switch k := m.Kind.(type) {
	case *catenaryv1.StreamRequest_Json:
		if it, err = s.inputJSON(ctx, schema, k.Json); err == nil {
			it.Turn, it.Time = m.Turn, unixTime(m.TimeUnixNanos)
		}
		return it, err
	case *catenaryv1.StreamRequest_Item:
		return s.inputItem(ctx, schema, k.Item)
	case *catenaryv1.StreamRequest_Open:
		return it, fmt.Errorf("%w: a second open; one call is one run", functions.ErrInvalid)
	default:
		return it, fmt.Errorf("%w: a message that is neither json nor item", functions.ErrInvalid)
	}
}

// readStream passes on what the caller sends, until the caller closes its side. It goes on reading when the run takes no
// more: only so does it see the end.
func (s *Server) readStream(ctx context.Context, stream *duplex, ch *chain, in *intake) {
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			in.queue.CloseSend(nil)
			return
		}
		if err != nil { // of a caller that is gone ctx tells, too
			in.queue.CloseSend(brokenInput(err))
			return
		}
		if k, ok := m.Kind.(*catenaryv1.StreamRequest_Interrupt); ok {
			if err := in.interruptAll(k.Interrupt.GetTurn()); err != nil {
				in.queue.CloseSend(err)
			}
			continue
		}
		it, err := s.inputMessage(ctx, ch.In().Schema, m)
		if err == nil {
			err = in.push(ctx, it)
		}
		if err != nil { // after the first one, and after the run's end, this changes nothing
			in.queue.CloseSend(err)
		}
	}
}

// brokenInput classes an error of reading: it is the caller's, unless the connection broke.
func brokenInput(err error) error {
	switch connect.CodeOf(err) {
	case connect.CodeResourceExhausted:
		return fmt.Errorf("%w: a message is larger than this server takes (--max-body): %v", functions.ErrMemoryLimit, err)
	case connect.CodeInvalidArgument:
		return fmt.Errorf("%w: a message can't be read: %v", functions.ErrInvalid, err)
	}
	return errGone(err)
}

func unixNanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func unixTime(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos)
}

// replies writes the reply of a Stream. Steps that are observed send beside the output, each a message at a time.
type replies struct {
	stream *duplex
	line   *line
	gone   func(error) // called when the caller takes no more

	mu sync.Mutex // held while one message is written: the caller's pace is the pace of all
}

// send implements audience, for what a run tells beside its items and its end.
func (r *replies) send(_ string, body any) error {
	m := &catenaryv1.StreamResponse{}
	switch b := body.(type) {
	case startedEvent:
		m.Kind = &catenaryv1.StreamResponse_Started{Started: &catenaryv1.Started{Run: b.Run, Graph: string(b.Graph)}}
	case turnOverEvent:
		m.Kind = &catenaryv1.StreamResponse_TurnOver{TurnOver: &catenaryv1.TurnOver{Turn: b.Turn}}
	case observedEvent:
		m.Kind = &catenaryv1.StreamResponse_Observed{Observed: &catenaryv1.Observed{Step: b.Step, Seq: b.Seq, Turn: b.Turn, Json: b.Value}}
	}
	return r.write(m)
}

func (r *replies) write(m *catenaryv1.StreamResponse) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line.writes()
	if err := r.stream.Send(m); err != nil {
		r.gone(err)
		return errGone(err)
	}
	return nil
}

// item sends one item of the output: as it is, or as JSON after the bytes of its blobs.
func (r *replies) item(schema *functions.Schema, it functions.Item, whole bool) error {
	v := &catenaryv1.Value{Seq: it.Seq, Turn: it.Turn, TimeUnixNanos: unixNanos(it.Time)}
	if whole {
		v.Item = catenaryv1.NewItem(it)
		return r.write(&catenaryv1.StreamResponse{Kind: &catenaryv1.StreamResponse_Item{Item: v}})
	}
	b, err := value.ToJSON(schema, it.Value)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	v.Json = b
	for _, a := range it.Blobs {
		if err := r.blob(a); err != nil {
			return err
		}
	}
	return r.write(&catenaryv1.StreamResponse{Kind: &catenaryv1.StreamResponse_Item{Item: v}})
}

func (r *replies) blob(a functions.Attachment) error {
	for rest := a.Data; ; {
		n := min(len(rest), chunkBytes)
		chunk := &catenaryv1.BlobChunk{Digest: string(a.Digest), Type: a.Type, Data: rest[:n], Last: n == len(rest)}
		if err := r.write(&catenaryv1.StreamResponse{Kind: &catenaryv1.StreamResponse_Blob{Blob: chunk}}); err != nil || chunk.Last {
			return err
		}
		rest = rest[n:]
	}
}
