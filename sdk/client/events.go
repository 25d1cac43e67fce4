package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// Timing is what the calls of one step took.
type Timing struct {
	Step string
	functions.Timing
	Start time.Duration // from the beginning of the run to the step's first call
	Calls int64
}

// Observed is one item that a step yielded.
type Observed struct {
	Step string
	Seq  uint64
	JSON json.RawMessage
}

// Value is one item of a chain's output, with the bytes of its blobs.
type Value struct {
	Seq   uint64
	JSON  json.RawMessage
	Blobs []functions.Attachment
}

// Event is one message of a run: exactly one field is set.
type Event struct {
	Value    *Value
	Observed *Observed
	Timing   *Timing // at the end, one for each step, if something is observed
}

// Result is the whole answer of a run.
type Result struct {
	JSON    json.RawMessage // for a stream an array of its items
	Graph   string          // the graph that ran
	Timings []Timing
}

// RunJSON runs a chain and returns its whole answer. Blobs in it are references; [Client.ReadBlob] reads them.
func (c *Client) RunJSON(ctx context.Context, chain string, in json.RawMessage) (Result, error) {
	resp, err := c.chains.Run(ctx, &catenaryv1.RunRequest{Chain: chain, Json: in})
	if err != nil {
		return Result{}, c.failure(ctx, err)
	}
	r := Result{JSON: resp.Json, Graph: resp.Graph}
	for _, t := range resp.Timing {
		r.Timings = append(r.Timings, newTiming(t))
	}
	return r, nil
}

// Post runs a chain with a raw body, such as a wav file or a text, and returns the server's reply; the caller closes
// its body. A body that is cut off was not the whole answer: reading it ends with an error then.
func (c *Client) Post(ctx context.Context, chain, contentType string, body io.Reader) (*http.Response, error) {
	if err := functions.CheckName("chain", chain); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/chains/"+chain, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	return c.do(req)
}

// Description is what a server tells of a chain.
type Description struct {
	Name  string         `json:"name"`
	Graph string         `json:"graph"` // the graph that runs now
	In    functions.Port `json:"in"`
	Out   functions.Port `json:"out"`
}

// Describe returns the types of a chain.
func (c *Client) Describe(ctx context.Context, chain string) (Description, error) {
	var d Description
	if err := functions.CheckName("chain", chain); err != nil {
		return d, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/chains/"+chain, nil)
	if err != nil {
		return d, err
	}
	resp, err := c.do(req)
	if err != nil {
		return d, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxDescription)).Decode(&d); err != nil {
		return d, fmt.Errorf("%w: the server's description of chain %s: %w", functions.ErrInvalid, chain, err)
	}
	return d, nil
}

// maxDescription bounds what is read of a description.
const maxDescription = 4 << 20

// Events runs a chain and yields what comes as it comes. An error is the last element, and how the run ended. To stop
// ranging cancels the run.
func (c *Client) Events(ctx context.Context, chain string, in json.RawMessage, observe ...string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		r, err := c.open(ctx, &catenaryv1.Open{Chain: chain, Observe: observe}, &catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Json{Json: in}})
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer r.close()
		for {
			ev, err := r.event()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// reply is the reply of a Stream that goes on.
type reply struct {
	c      *Client
	ctx    context.Context // of the call, for its cause; a reply lives within one call
	cancel context.CancelFunc
	stream *connect.BidiStreamForClientSimple[catenaryv1.StreamRequest, catenaryv1.StreamResponse]
	// blobs came before the value that they belong to; the last may still grow.
	blobs []functions.Attachment
	grows bool
	ended bool
}

// open begins a run: the caller closes the reply.
func (c *Client) open(parent context.Context, open *catenaryv1.Open, in *catenaryv1.StreamRequest) (*reply, error) {
	ctx, cancel := context.WithCancel(parent)
	stream, err := c.chains.Stream(ctx)
	if err != nil {
		cancel()
		return nil, c.failure(parent, err)
	}
	r := &reply{c: c, ctx: parent, cancel: cancel, stream: stream}
	for _, m := range []*catenaryv1.StreamRequest{{Kind: &catenaryv1.StreamRequest_Open{Open: open}}, in} {
		if err := stream.Send(m); err != nil && !errors.Is(err, io.EOF) { // EOF: the reply says why
			r.close()
			return nil, c.failure(parent, err)
		}
	}
	_ = stream.CloseRequest()
	return r, nil
}

// close ends the run if it goes on.
func (r *reply) close() {
	if !r.ended {
		r.cancel()
	}
	for {
		if _, err := r.stream.Receive(); err != nil {
			break
		}
	}
	_ = r.stream.CloseResponse()
	r.cancel()
}

// message returns the next message but for blob chunks and the end: that is io.EOF, or the run's error.
func (r *reply) message() (*catenaryv1.StreamResponse, error) {
	for {
		m, err := r.stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: server %s: the reply broke off before its end", functions.ErrUnavailable, r.c.base)
		}
		if err != nil {
			return nil, r.c.failure(r.ctx, err)
		}
		switch k := m.Kind.(type) {
		case *catenaryv1.StreamResponse_End:
			r.ended = true
			if k.End.Error != nil {
				return nil, k.End.Error.Err()
			}
			return nil, io.EOF
		case *catenaryv1.StreamResponse_Blob:
			if err := r.chunk(k.Blob); err != nil {
				return nil, err
			}
		default:
			return m, nil
		}
	}
}

// chunk takes the next bytes of a blob.
func (r *reply) chunk(b *catenaryv1.BlobChunk) error {
	if !r.grows {
		r.blobs = append(r.blobs, functions.Attachment{Blob: functions.Blob{Digest: functions.Digest(b.Digest), Type: b.Type}})
	}
	a := &r.blobs[len(r.blobs)-1]
	a.Data = append(a.Data, b.Data...)
	a.Size = int64(len(a.Data))
	if a.Size > maxMessage {
		return fmt.Errorf("%w: a blob of more than %d bytes", functions.ErrOutputLimit, maxMessage)
	}
	if r.grows = !b.Last; !r.grows {
		if functions.DigestOf(a.Data) != a.Digest {
			return fmt.Errorf("%w: the bytes of blob %s are not those that its digest names", functions.ErrInvalid, a.Digest.Short())
		}
		r.c.held.put(*a)
	}
	return nil
}

// event returns the next event, io.EOF after a run that went well, or how it failed.
func (r *reply) event() (Event, error) {
	for {
		m, err := r.message()
		if err != nil {
			return Event{}, err
		}
		switch k := m.Kind.(type) {
		case *catenaryv1.StreamResponse_Item:
			v := &Value{Seq: k.Item.Seq, JSON: k.Item.Json, Blobs: r.blobs}
			r.blobs = nil
			return Event{Value: v}, nil
		case *catenaryv1.StreamResponse_Observed:
			return Event{Observed: &Observed{Step: k.Observed.Step, Seq: k.Observed.Seq, JSON: k.Observed.Json}}, nil
		case *catenaryv1.StreamResponse_Timing:
			t := newTiming(k.Timing)
			return Event{Timing: &t}, nil
		} // a kind that this client does not know is none that it asked for
	}
}

func newTiming(t *catenaryv1.Timing) Timing {
	return Timing{Step: t.Step, Timing: t.Functions(), Start: time.Duration(t.StartNs), Calls: t.Calls}
}
