package worker

import (
	"context"
	"fmt"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// call is one generation by who has the seat.
type call struct {
	held *held
	seat *seat
	slot int
	req  *gpuv1.GenerateRequest

	g      Generation // nil before the first turn
	broken bool       // what the slot holds is not known
}

// answer sends the tokens as long as there is credit for them.
func (c *call) answer(ctx context.Context, credit *credit, send func(*gpuv1.GenerateResponse) error) error {
	first := true
	for {
		if err := credit.wait(ctx); err != nil {
			return err
		}
		var token functions.Token
		var ok bool
		err := c.held.turns.do(ctx, func() (err error) {
			token, ok, err = c.turn()
			return err
		})
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		credit.spend()
		res := &gpuv1.GenerateResponse{Text: token.Text, Finish: token.Finish}
		if first {
			tokens, reused := c.g.Prompt()
			res.PromptTokens, res.ReusedTokens = int32(tokens), int32(reused)
			first = false
		}
		if err := send(res); err != nil || token.Finish != "" {
			return err
		}
	}
}

// turn takes one turn. The first one begins the generation, in a slot that holds nothing of another session.
func (c *call) turn() (functions.Token, bool, error) {
	if c.g == nil {
		if err := c.start(); err != nil {
			return functions.Token{}, false, err
		}
	}
	token, ok, err := c.g.Next()
	c.broken = err != nil
	return token, ok, err
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
