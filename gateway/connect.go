package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"connectrpc.com/connect"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// chunkBytes is the size of a piece of a blob in Stream's reply: large enough that its frame costs nothing, small
// enough that an item behind it does not wait long.
const chunkBytes = 256 << 10

// chainService implements catenary.v1.ChainService.
type chainService struct{ s *Server }

// Run runs a chain and returns its whole answer.
func (c *chainService) Run(ctx context.Context, req *catenaryv1.RunRequest) (*catenaryv1.RunResponse, error) {
	resp, err := c.s.unaryRun(ctx, req)
	c.s.metrics.answered("run", err)
	if err != nil {
		return nil, c.s.publicError(ctx, err)
	}
	return resp, nil
}

func (s *Server) unaryRun(ctx context.Context, req *catenaryv1.RunRequest) (*catenaryv1.RunResponse, error) {
	ch, err := s.chains.resolve(ctx, req.Chain)
	if err != nil {
		return nil, err
	}
	in, err := s.inputJSON(ctx, ch.In().Schema, req.Json)
	if err != nil {
		return nil, err
	}
	out := ch.Out()
	var body bytes.Buffer
	report, err := s.execute(ctx, run{id: newID(), door: "run", chain: ch, in: in, out: func(_ context.Context, it functions.Item) error {
		b, err := value.ToJSON(out.Schema, it.Value)
		if err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		if int64(body.Len()+len(b)) > s.cfg.MaxItem {
			return fmt.Errorf("%w: the answer is larger than %d bytes, the most that is sent whole; use Stream", functions.ErrOutputLimit, s.cfg.MaxItem)
		}
		if out.Stream {
			body.WriteByte(separator(body.Len()))
		}
		body.Write(b)
		return nil
	}})
	if err != nil {
		return nil, err
	}
	if out.Stream {
		if body.Len() == 0 {
			body.WriteByte('[')
		}
		body.WriteByte(']')
	}
	return &catenaryv1.RunResponse{Json: body.Bytes(), Graph: string(report.Graph), Timing: timings(report)}, nil
}

// separator comes before an element of an array of which n bytes are written.
func separator(n int) byte {
	if n == 0 {
		return '['
	}
	return ','
}

// Stream runs a chain and sends what it yields as it comes. What stops the call before its run begins is a Connect
// error; how the run ended is in the last message.
func (c *chainService) Stream(ctx context.Context, stream *connect.BidiStream[catenaryv1.StreamRequest, catenaryv1.StreamResponse]) error {
	err := c.s.streamRun(ctx, stream)
	if err != nil {
		return c.s.publicError(ctx, err)
	}
	return nil
}

func (s *Server) streamRun(ctx context.Context, stream *connect.BidiStream[catenaryv1.StreamRequest, catenaryv1.StreamResponse]) error {
	open, ch, in, err := s.openStream(ctx, stream)
	if err != nil {
		s.metrics.answered("stream", err)
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	rep := &replies{stream: stream, gone: func(err error) { cancel(errGone(err)) }}
	r := run{id: newID(), door: "stream", chain: ch, in: in, out: func(_ context.Context, it functions.Item) error {
		return rep.item(ch.Out().Schema, it, open.Items)
	}}
	if len(open.Observe) > 0 {
		r.observe, r.observed = open.Observe, func(step string, it functions.Item) {
			b, err := value.ToJSON(ch.steps[step], it.Value)
			if err != nil {
				cancel(fmt.Errorf("observe step %s: %w", step, err))
				return
			}
			// A failure to send ends the run through its context.
			_ = rep.send(&catenaryv1.StreamResponse{Kind: &catenaryv1.StreamResponse_Observed{Observed: &catenaryv1.Observed{Step: step, Seq: it.Seq, Json: b}}})
		}
	}
	report, err := s.execute(ctx, r)
	s.metrics.answered("stream", err)
	if len(open.Observe) > 0 {
		for _, t := range timings(report) {
			if err := rep.send(&catenaryv1.StreamResponse{Kind: &catenaryv1.StreamResponse_Timing{Timing: t}}); err != nil {
				return err
			}
		}
	}
	end := &catenaryv1.End{Graph: string(ch.Hash())}
	if err != nil {
		end.Error = catenaryv1.NewFailure(s.public(ctx, err))
	}
	return rep.send(&catenaryv1.StreamResponse{Kind: &catenaryv1.StreamResponse_End{End: end}})
}

// openStream reads the caller's side: Open, one input, and its end.
func (s *Server) openStream(ctx context.Context, stream *connect.BidiStream[catenaryv1.StreamRequest, catenaryv1.StreamResponse]) (open *catenaryv1.Open, ch *chain, in functions.Item, err error) {
	first, err := receive(stream, "open")
	if err != nil {
		return nil, nil, in, err
	}
	if open = first.GetOpen(); open == nil {
		return nil, nil, in, fmt.Errorf("%w: the first message must be open", functions.ErrInvalid)
	}
	if ch, err = s.chains.resolve(ctx, open.Chain); err != nil {
		return nil, nil, in, err
	}
	if err = ch.observable(open.Observe); err != nil {
		return nil, nil, in, err
	}
	second, err := receive(stream, "the input")
	if err != nil {
		return nil, nil, in, err
	}
	switch k := second.Kind.(type) {
	case *catenaryv1.StreamRequest_Json:
		in, err = s.inputJSON(ctx, ch.In().Schema, k.Json)
	case *catenaryv1.StreamRequest_Item:
		in, err = s.inputItem(ctx, ch.In().Schema, k.Item)
	default:
		err = fmt.Errorf("%w: the second message must be json or item", functions.ErrInvalid)
	}
	if err != nil {
		return nil, nil, in, err
	}
	_, err = stream.Receive()
	switch {
	case err == nil:
		return nil, nil, in, fmt.Errorf("%w: a chain takes one input; close your side after it", functions.ErrInvalid)
	case !errors.Is(err, io.EOF):
		return nil, nil, in, err
	}
	return open, ch, in, nil
}

func receive(stream *connect.BidiStream[catenaryv1.StreamRequest, catenaryv1.StreamResponse], what string) (*catenaryv1.StreamRequest, error) {
	m, err := stream.Receive()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: the stream ended before %s", functions.ErrInvalid, what)
	}
	return m, err
}

// replies writes the reply of a Stream. Steps that are observed send beside the output, each a message at a time.
type replies struct {
	stream *connect.BidiStream[catenaryv1.StreamRequest, catenaryv1.StreamResponse]
	gone   func(error) // called when the caller takes no more

	mu sync.Mutex // held while one message is written: the caller's pace is the pace of all
}

func (r *replies) send(m *catenaryv1.StreamResponse) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.stream.Send(m); err != nil {
		r.gone(err)
		return errGone(err)
	}
	return nil
}

// item sends one item of the output: as it is, or as JSON after the bytes of its blobs.
func (r *replies) item(schema *functions.Schema, it functions.Item, whole bool) error {
	v := &catenaryv1.Value{Seq: it.Seq}
	if whole {
		v.Item = catenaryv1.NewItem(it)
		return r.send(&catenaryv1.StreamResponse{Kind: &catenaryv1.StreamResponse_Item{Item: v}})
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
	return r.send(&catenaryv1.StreamResponse{Kind: &catenaryv1.StreamResponse_Item{Item: v}})
}

func (r *replies) blob(a functions.Attachment) error {
	for rest := a.Data; ; {
		n := min(len(rest), chunkBytes)
		chunk := &catenaryv1.BlobChunk{Digest: string(a.Digest), Type: a.Type, Data: rest[:n], Last: n == len(rest)}
		if err := r.send(&catenaryv1.StreamResponse{Kind: &catenaryv1.StreamResponse_Blob{Blob: chunk}}); err != nil || chunk.Last {
			return err
		}
		rest = rest[n:]
	}
}
