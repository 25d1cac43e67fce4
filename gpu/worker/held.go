package worker

import (
	"context"
	"fmt"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
	"github.com/catenary-run/catenary/gpu/llama"
)

// held is one model and the right to use it: in a turn, and for a generation in a seat, too. Seats come before turns.
type held struct {
	turns turns
	seats []seat
	users int // calls that have it; the service's mu guards it

	// Only in a turn, or where there are no users.
	model Model // nil until loaded, and after Unload
	bytes int64 // after the last transition
}

// seat is the right to one of the model's slots.
type seat struct {
	free    chan struct{} // holds one token: who took it has the seat
	session string        // whose the slot is; empty if nothing was read there. Only who has the seat may look.
}

func newHeld() *held {
	h := &held{seats: make([]seat, llama.MaxSlots)}
	for i := range h.seats {
		h.seats[i].free = make(chan struct{}, 1)
		h.seats[i].free <- struct{}{}
	}
	return h
}

// sit runs f in a seat when it is free.
func (h *held) sit(ctx context.Context, slot int, f func(*seat) error) error {
	if slot < 0 || slot >= len(h.seats) {
		return fmt.Errorf("%w: slot %d; a model has %d at most", functions.ErrInvalid, slot, len(h.seats))
	}
	s := &h.seats[slot]
	select {
	case <-s.free:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { s.free <- struct{}{} }()
	return f(s)
}

// alone runs f in a turn when no generation is under way, and none begins meanwhile. Afterwards no slot holds anything.
func (h *held) alone(ctx context.Context, f func() error) error {
	taken := 0
	defer func() {
		for i := range taken {
			h.seats[i].free <- struct{}{}
		}
	}()
	for i := range h.seats {
		select {
		case <-h.seats[i].free:
			taken++
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return h.turns.do(ctx, func() error {
		if err := f(); err != nil {
			return err
		}
		for i := range h.seats {
			h.seats[i].session = ""
		}
		return nil
	})
}

// generate answers one request in its seat, a turn at a time. The slot keeps what it has read if the request names a
// session and nothing went wrong with the slot itself: a caller that goes away may come back.
func (h *held) generate(ctx context.Context, req *gpuv1.GenerateRequest, credit *credit, send func(*gpuv1.GenerateResponse) error) error {
	slot := int(req.GetSlot())
	return h.sit(ctx, slot, func(s *seat) error {
		g, err := h.start(ctx, slot, s, req)
		if err != nil {
			return err
		}
		defer g.End()
		sound, err := h.answer(ctx, g, credit, send)
		if req.GetSession() == "" || !sound {
			// Also for a caller that is gone: nobody else can be let in before.
			cleared := h.turns.do(context.WithoutCancel(ctx), func() error { return h.clear(slot, s) })
			if err == nil {
				err = cleared
			}
		}
		return err
	})
}

// start begins a generation, in a slot that holds nothing of another session.
func (h *held) start(ctx context.Context, slot int, s *seat, req *gpuv1.GenerateRequest) (g Generation, err error) {
	err = h.turns.do(ctx, func() error {
		if h.model == nil {
			return unknown(req.GetId())
		}
		if n := h.model.Slots(); slot >= n {
			return fmt.Errorf("%w: slot %d; the model has %d", functions.ErrInvalid, slot, n)
		}
		if s.session != req.GetSession() {
			if err := h.clear(slot, s); err != nil {
				return err
			}
		}
		if g, err = h.model.Start(slot, generation(req)); err != nil {
			return err
		}
		s.session = req.GetSession()
		return nil
	})
	return g, err
}

// answer sends the tokens of g as long as there is credit for them. It reports whether what the slot holds is sound.
func (h *held) answer(ctx context.Context, g Generation, credit *credit, send func(*gpuv1.GenerateResponse) error) (sound bool, err error) {
	tokens, reused := g.Prompt()
	res := &gpuv1.GenerateResponse{PromptTokens: int32(tokens), ReusedTokens: int32(reused)}
	for {
		if err := credit.wait(ctx); err != nil {
			return true, err
		}
		var token functions.Token
		var ok bool
		sound = true
		err := h.turns.do(ctx, func() (err error) {
			token, ok, err = g.Next()
			sound = err == nil
			return err
		})
		if err != nil {
			return sound, err
		}
		if !ok {
			continue
		}
		credit.spend()
		res.Text, res.Finish = token.Text, token.Finish
		if err := send(res); err != nil || token.Finish != "" {
			return true, err
		}
		res = &gpuv1.GenerateResponse{}
	}
}

// forget clears a slot if it is still the session's.
func (h *held) forget(ctx context.Context, slot int, session string) error {
	return h.sit(ctx, slot, func(s *seat) error {
		if s.session == "" || s.session != session {
			return nil
		}
		return h.turns.do(ctx, func() error { return h.clear(slot, s) })
	})
}

// clear is called in a turn, by who has the seat.
func (h *held) clear(slot int, s *seat) error {
	if err := h.model.Clear(slot); err != nil {
		return err
	}
	s.session = ""
	return nil
}

func (h *held) residency(r llama.Residency) *gpuv1.Residency {
	h.bytes = r.MemBytes
	return &gpuv1.Residency{Bytes: r.Bytes, Nanos: r.Took.Nanoseconds(), MemBytes: r.MemBytes, Slots: int32(h.model.Slots())}
}

func generation(req *gpuv1.GenerateRequest) functions.Generation {
	gen := functions.Generation{
		MaxTokens:   int(req.GetMaxTokens()),
		Temperature: req.GetTemperature(),
		TopP:        req.GetTopP(),
		Seed:        req.GetSeed(),
	}
	for _, m := range req.GetMessages() {
		gen.Messages = append(gen.Messages, functions.Message{Role: m.GetRole(), Content: m.GetContent()})
	}
	return gen
}
