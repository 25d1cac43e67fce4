package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// Piece is a part of an answer.
type Piece struct {
	functions.Token
	// PromptTokens of the whole prompt, and CachedTokens that the server had read before. They come with the last piece, if
	// the server tells them.
	PromptTokens, CachedTokens int
}

// Answer is a reply as it comes. One goroutine at a time may use it.
type Answer struct {
	client  *Client
	ctx     context.Context // ends the request
	cancel  context.CancelCauseFunc
	silence *time.Timer // ends ctx; it runs only while the server is waited for
	body    io.ReadCloser
	events  *events

	last           *Piece // the last piece, once the model has ended: the count of tokens may follow
	prompt, cached int    // tokens, as far as they were counted
	done           bool
}

// chunk is one event of an answer.
type chunk struct {
	Choices []struct {
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
		Finish string `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		Prompt  int `json:"prompt_tokens"`
		Details *struct {
			Cached int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	} `json:"usage"`
	Error json.RawMessage `json:"error"`
}

// end is the data of the event after the last one.
const end = "[DONE]"

// Recv returns the next piece. The last one has its Finish set; io.EOF comes after it. It returns the cause of the context
// if that has ended.
func (a *Answer) Recv() (Piece, error) {
	if a.done {
		return Piece{}, io.EOF
	}
	for {
		limit := silenceLimit
		if a.last != nil {
			limit = tailLimit
		}
		a.silence.Reset(limit)
		data, err := a.events.next()
		a.silence.Stop()
		switch {
		case a.last != nil && (err != nil || string(data) == end):
			a.done = true // the answer is whole, whatever became of the connection
			a.last.PromptTokens, a.last.CachedTokens = a.prompt, a.cached
			return *a.last, nil
		case err == io.EOF || string(data) == end:
			return Piece{}, fmt.Errorf("%w: %s: %w before its end", functions.ErrUnavailable, a.client.cfg.URL, ErrCut)
		case err != nil && a.ctx.Err() != nil:
			return Piece{}, a.client.explain(broken(a.ctx, err))
		case err != nil:
			return Piece{}, fmt.Errorf("%w: %s: %w: %v", functions.ErrUnavailable, a.client.cfg.URL, ErrCut, err)
		}
		piece, err := a.take(data)
		if err != nil || piece.Text != "" {
			return piece, err
		}
	}
}

// take reads one event. It returns text that came with it, and keeps the last piece.
func (a *Answer) take(data []byte) (Piece, error) {
	var c chunk
	if err := json.Unmarshal(data, &c); err != nil {
		return Piece{}, a.client.failf(false, "it sent %q in place of a piece of an answer", a.client.excerpt(data))
	}
	if len(c.Error) > 0 && string(c.Error) != "null" {
		return Piece{}, a.client.failf(true, "it broke off: %s", a.client.excerpt(errorText(data)))
	}
	var piece Piece
	for _, choice := range c.Choices[:min(len(c.Choices), 1)] { // we ask for one
		piece.Text = choice.Delta.Content
		switch choice.Finish {
		case "":
		case "content_filter":
			return Piece{}, fmt.Errorf("%w: %s: its filter cut the answer off", functions.ErrFunction, a.client.cfg.URL)
		case "length":
			a.last = &Piece{Token: functions.Token{Finish: "length"}}
		default: // stop, and what means that the model has ended in a server's own words
			a.last = &Piece{Token: functions.Token{Finish: "stop"}}
		}
	}
	if a.last != nil {
		a.last.Text += piece.Text
		piece.Text = ""
	}
	if c.Usage != nil {
		a.prompt = c.Usage.Prompt
		if c.Usage.Details != nil {
			a.cached = c.Usage.Details.Cached
		}
	}
	return piece, nil
}

// Close ends the answer, if it still goes on, at once. It may be called more than once.
func (a *Answer) Close() {
	a.done = true
	a.silence.Stop()
	a.cancel(functions.ErrClosed)
	if a.body != nil {
		_ = a.body.Close() // nothing was written
	}
	a.client.mu.Lock()
	defer a.client.mu.Unlock()
	delete(a.client.open, a)
}
