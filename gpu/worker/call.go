package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
	"github.com/catenary-run/catenary/gpu/llama"
)

// call is one generation by who has the seat.
type call struct {
	held   *held
	seat   *seat
	slot   int
	req    *gpuv1.GenerateRequest
	credit *credit
	some   chan struct{} // holds one: take has something

	// Of the steps, and of who has joined once it has left.
	g              Generation // nil before the first one
	last           llama.Result
	failed         error // of the last step
	broken         bool  // what the slot holds is not known
	prompt, reused int32 // tokens; final before the first token is made

	worked  time.Duration // share of the steps since the last token
	company int           // how many the last step was of

	made []made // by steps, and not taken; the batch's mu guards it
	err  error  // of a step: it was the last; the batch's mu guards it
	gone bool   // it has left; the batch's mu guards it
}

// made is a token, with what the device has worked for it and how many generations were decoded with it.
type made struct {
	functions.Token
	worked time.Duration
	batch  int
}

// answer sends the tokens as they are made, as long as there is credit for them.
func (c *call) answer(ctx context.Context, send func(*gpuv1.GenerateResponse) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.held.batch.join(c)
	defer c.held.batch.leave(c)
	for first := true; ; {
		select {
		case <-c.some:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		tokens, failed := c.held.batch.take(c)
		for _, token := range tokens {
			res := &gpuv1.GenerateResponse{Text: token.Text, Finish: token.Finish, DeviceNanos: int64(token.worked), Batch: int32(token.batch)}
			if first {
				res.PromptTokens, res.ReusedTokens = c.prompt, c.reused
				first = false
			}
			if err := send(res); err != nil || token.Finish != "" {
				return err
			}
		}
		if failed != nil {
			return failed
		}
	}
}

// hasRoom reports whether the caller has room for a token.
func (c *call) hasRoom() bool { return c.credit.has() }

// poke tells the caller that there is something to take.
func (c *call) poke() {
	select {
	case c.some <- struct{}{}:
	default:
	}
}

// outcome returns what came of the step before, if it is a token.
func (c *call) outcome() (token made, ok bool, err error) {
	r, err := c.last, c.failed
	c.last, c.failed = llama.Result{}, nil
	if !r.OK {
		return made{}, false, err
	}
	token = made{r.Token, c.worked, c.company}
	c.worked = 0
	return token, true, err
}

// step takes one step of calls. Those of new ones begin their generations, in slots that hold nothing of other sessions.
// The time that it took is theirs, by how much was read for each.
func (h *held) step(calls []*call) {
	began := time.Now()
	var begun []*call
	var gens []Generation
	for _, c := range calls {
		if c.g == nil {
			if c.failed = c.start(); c.failed != nil {
				continue
			}
		}
		begun, gens = append(begun, c), append(gens, c.g)
	}
	if len(gens) == 0 {
		return
	}
	results, err := h.model.Step(gens)
	took, read := time.Since(began), 0
	for _, r := range results {
		read += r.Read
	}
	for i, c := range begun {
		if c.failed, c.broken = err, err != nil; err == nil {
			c.last, c.company = results[i], len(begun)
			c.worked += took * time.Duration(results[i].Read) / time.Duration(max(1, read))
		}
	}
}

func (c *call) start() error {
	m := c.held.model
	if m == nil {
		return unknown(c.req.GetId())
	}
	if n := m.Slots(); c.slot >= n {
		return fmt.Errorf("%w: slot %d; the model has %d", functions.ErrInvalid, c.slot, n)
	}
	if c.seat.session != c.req.GetSession() {
		if err := c.held.clear(c.slot, c.seat); err != nil {
			return err
		}
	}
	g, err := m.Start(c.slot, c.req.Generation())
	if err != nil {
		return err
	}
	c.g, c.seat.session = g, c.req.GetSession()
	tokens, reused := g.Prompt()
	c.prompt, c.reused = int32(tokens), int32(reused)
	return nil
}

// end frees what the call holds. The slot keeps what it has read if that is for a session and nothing went wrong with
// it: a caller that goes away in the middle may come back.
func (c *call) end(ctx context.Context) error {
	if c.g == nil {
		return nil
	}
	c.g.End()
	if c.req.GetSession() != "" && !c.broken {
		return nil
	}
	// Also for a caller that is gone: nobody else can be let in before.
	return c.held.turns.do(context.WithoutCancel(ctx), func() error { return c.held.clear(c.slot, c.seat) })
}
