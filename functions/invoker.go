package functions

import (
	"context"
	"log/slog"
	"time"
)

// Call says which function to call and on whose behalf. Its deadline is that of the context.
type Call struct {
	Ref Ref
	// Models pins the models that the function may use, by the names that its manifest declares.
	Models []Ref
	Chain  string
	Step   string
	Run    string
	// Caller names on whose behalf the call is made: callers get equal shares of a model. All that name nobody are one.
	Caller   string
	Priority Priority // before models
	// Turns tells which turns of the run are over; nil if none ever is. What the call yields for one is dropped.
	Turns *Turns
}

// Timing is what one call took.
type Timing struct {
	Wake      time.Duration // until an instance was there, as far as one had to be started
	Queue     time.Duration // in the queue, for other reasons
	FirstItem time.Duration // from the call to its first item out
	Total     time.Duration // from the call to its end
	BytesIn   int64
	BytesOut  int64
}

// Invoker calls functions. It has two implementations: the pools of this process, and another node over Connect.
// Package functions/invokertest holds the suite that both pass. It may be used from many goroutines.
type Invoker interface {
	// Invoke calls a function with the items of in and sends what it yields to out. It returns when the call has
	// ended and everything that it held is free again. The timing counts even when there is an error. It does not
	// close in or out.
	Invoke(ctx context.Context, call Call, in Source, out Sink) (Timing, error)
	// Wake starts what the given functions and models need to answer at once, all side by side, and returns when they
	// are ready or one has failed. It is a hint: Invoke works without it.
	Wake(ctx context.Context, fns, models []Ref) error
}

// Host is what one running call may reach. A driver gives it to the function in the driver's own way.
type Host interface {
	// Generate asks the model of that name. It returns an error wrapping [ErrDenied] if the manifest does not declare
	// it. The caller closes the tokens.
	Generate(ctx context.Context, model string, req Generation) (Tokens, error)
	// Log records one line that the function wrote.
	Log(level slog.Level, line string)
	// Turns tells which turns of the run are over; nil if none ever is.
	Turns() *Turns
}

// Message is one turn of a conversation with a model.
type Message struct {
	Role    string `json:"role"` // system, user or assistant
	Content string `json:"content"`
}

// Generation is a request to a model.
type Generation struct {
	Messages    []Message `json:"messages"`
	MaxTokens   int       `json:"max_tokens,omitempty"`  // 0: until the model ends or its context is full
	Temperature float64   `json:"temperature,omitempty"` // 0: greedy
	TopK        int       `json:"top_k,omitempty"`       // only the likeliest so many tokens; 0: all
	TopP        float64   `json:"top_p,omitempty"`       // only the likeliest tokens that together have this probability; 0 or 1: all
	MinP        float64   `json:"min_p,omitempty"`       // only tokens with this share of the likeliest one's probability; 0: all
	// Repetition makes tokens less likely that are among the last 64 of the answer: their logits are divided by it, or
	// multiplied where they are negative. 0 or 1: not at all.
	Repetition float64  `json:"repetition,omitempty"`
	Seed       uint32   `json:"seed,omitempty"` // 0: random
	Stop       []string `json:"stop,omitempty"` // the answer ends before the first of them, 16 at most, of 256 bytes each
	// Session names the call whose generations share what the model has read already. The host sets it, for calls with
	// a stream as their input; a function can't.
	Session string `json:"-"`
	// Caller and Priority are those of the call. The host sets them; a function can't.
	Caller   string   `json:"-"`
	Priority Priority `json:"-"`
}

// Token is one piece of a model's answer: whole UTF-8 characters, possibly several or none.
type Token struct {
	Text string `json:"text"`
	// Finish is empty until the last token: then it is "stop" (the model ended), "length" (MaxTokens or the context).
	Finish string `json:"finish,omitempty"`
}

// Tokens is an answer as it comes. Recv returns io.EOF after the last token. Close ends the generation, if it still
// goes on, and frees the model; it may be called more than once.
type Tokens interface {
	Recv(ctx context.Context) (Token, error)
	Close() error
}
