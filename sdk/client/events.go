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
	Turn uint64
	JSON json.RawMessage
}

// Value is one item of a chain's output, with the bytes of its blobs.
type Value struct {
	Seq   uint64
	Turn  uint64
	Time  time.Time // zero if nobody said
	JSON  json.RawMessage
	Blobs []functions.Attachment
}

// Event is one message of a run: exactly one field is set.
type Event struct {
	Value    *Value
	TurnOver *TurnOver
	Observed *Observed
	Timing   *Timing // at the end, one for each step, if something is observed
}

// TurnOver says that a turn was interrupted: nothing of it comes any more.
type TurnOver struct{ Turn uint64 }

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
		d, err := c.open(ctx, &catenaryv1.Open{Chain: chain, Observe: observe})
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer d.close()
		if err := d.send(ctx, &catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Json{Json: in}}); err != nil && !errors.Is(err, io.EOF) {
			yield(Event{}, err)
			return
		}
		d.closeSend()
		for {
			ev, err := d.event(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

func newTiming(t *catenaryv1.Timing) Timing {
	return Timing{Step: t.Step, Timing: t.Functions(), Start: time.Duration(t.StartNs), Calls: t.Calls}
}
