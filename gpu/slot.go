package gpu

import (
	"context"
	"time"

	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// slot is one of a model's places for a generation, as the runtime sees it. The worker holds what was read there.
type slot struct {
	lease   *lease
	session string    // whose it is, also between its leases; empty if it keeps nothing
	ended   bool      // the session has ended, and the lease has not yet
	lastUse time.Time // of a slot without a lease
}

// pick returns a free slot for a call, or -1, and whether it is the session's from now on. It is the one that the
// session has already; otherwise an empty one; otherwise the one that was used least lately, whose session then has
// none: its next generation reads its prompt anew. A second call of a session whose slot is lent gets one that it does
// not keep. It is pure.
func pick(slots []slot, session string) (slot int, kept bool) {
	best, kept := -1, session != ""
	for i, s := range slots {
		own := session != "" && s.session == session && !s.ended
		switch {
		case own && s.lease == nil:
			return i, true
		case own:
			kept = false
		case s.lease == nil && (best < 0 || sooner(s, slots[best])):
			best = i
		}
	}
	return best, kept
}

// sooner reports whether a is to be taken rather than b. Among the empty ones, too, it is the one that was used least
// lately: one whose call was cancelled just now may be in the middle of a last token.
func sooner(a, b slot) bool {
	if (a.session == "") != (b.session == "") {
		return a.session == ""
	}
	return a.lastUse.Before(b.lastUse)
}

// leases counts the slots that are lent.
func leases(slots []slot) (n int) {
	for _, s := range slots {
		if s.lease != nil {
			n++
		}
	}
	return n
}

// EndSession frees all that is kept for a session, of a generation that is under way when that ends. It waits for
// nothing. A session of which nothing is kept is no error. No generation of the session may be asked for afterwards.
func (r *Runtime) EndSession(session string) {
	if session == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.models {
		for i := range m.slots {
			s := &m.slots[i]
			switch {
			case s.session != session:
			case s.lease != nil:
				s.ended = true
			default:
				r.forgetLocked(m, i)
			}
		}
	}
}

// forgetLocked makes a slot empty. For the next call it is at once; the worker is told, so that the data does not stay
// until then. It clears a slot for another session by itself.
func (r *Runtime) forgetLocked(m *model, i int) {
	req := &gpuv1.ForgetRequest{Id: string(m.ref.Digest), Slot: int32(i), Session: m.slots[i].session}
	m.slots[i] = slot{lastUse: time.Now()}
	w := m.device.worker
	if w == nil || r.closed {
		return // it has gone or is about to, with all that it knows
	}
	r.calls.Go(func() { // joined by Run; it ends with the worker at the latest
		ctx, cancel := context.WithTimeout(context.Background(), forgetLimit)
		defer cancel()
		if _, err := w.client.Forget(ctx, req); err != nil {
			r.cfg.Log.Debug("forget a session", "model", m.ref.Name, "err", gpuv1.ErrorOf(ctx, err))
		}
	})
}

// forgetLimit is for a worker that decodes many long prompts: the slot waits for its turn among them.
const forgetLimit = 30 * time.Second
