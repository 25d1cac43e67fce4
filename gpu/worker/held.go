package worker

import (
	"context"
	"errors"
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
	return h.turns.do(ctx, "", func() error {
		if err := f(); err != nil {
			return err
		}
		for i := range h.seats {
			h.seats[i].session = ""
		}
		return nil
	})
}

// generate answers one request in its seat, a turn at a time.
func (h *held) generate(ctx context.Context, req *gpuv1.GenerateRequest, credit *credit, send func(*gpuv1.GenerateResponse) error) error {
	slot := int(req.GetSlot())
	return h.sit(ctx, slot, func(s *seat) error {
		c := &call{held: h, seat: s, slot: slot, req: req}
		err := c.answer(ctx, credit, send)
		return errors.Join(err, c.end(ctx))
	})
}

// forget clears a slot if it is still the session's.
func (h *held) forget(ctx context.Context, slot int, session string) error {
	return h.sit(ctx, slot, func(s *seat) error {
		if s.session == "" || s.session != session {
			return nil
		}
		return h.turns.do(ctx, "", func() error { return h.clear(slot, s) })
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
