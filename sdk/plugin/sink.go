package plugin

import (
	"context"
	"sync"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
)

// sink is the output of a call, and what carries its notices.
type sink struct {
	stream handleStream
	env    *env
	input  *source
	schema *functions.Schema

	mu   sync.Mutex // held while a message is sent: guards the fields below
	sent uint64     // items sent
}

// Send sends it with the blobs that it refers to and that were made in this call. An item of a turn that is over is
// dropped.
func (s *sink) Send(ctx context.Context, it functions.Item) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	blobs, err := s.env.blobs.of(s.schema, it.Value)
	if err != nil {
		return err
	}
	if s.env.turns.Over(it.Turn) {
		return nil
	}
	m := &pluginv1.Item{Value: it.Value, Blobs: blobs, Turn: it.Turn}
	if !it.Time.IsZero() {
		m.TimeUnixNanos = it.Time.UnixNano()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.Seq = s.sent
	s.sent++
	return s.send(m)
}

// send sends m with what has been taken meanwhile; mu is held.
func (s *sink) send(m *pluginv1.Item) error {
	if s.input.items != nil {
		m.Taken = s.input.taken.Load()
		s.input.told.Store(m.Taken)
	}
	return s.stream.Send(m)
}

// notify tells the node what the function takes, until done is closed.
func (s *sink) notify(done <-chan struct{}) {
	for {
		select {
		case <-s.input.report:
			if err := s.tell(); err != nil {
				return // the call has ended
			}
		case <-done:
			return
		}
	}
}

// tellWaits tells how long the function has waited. That it can't be told shows with the next item.
func (s *sink) tellWaits(w functions.Waits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.send(&pluginv1.Item{Waits: &pluginv1.Waits{TotalNanos: int64(w.Total), Now: w.Now}})
}

func (s *sink) tell() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.input.taken.Load() == s.input.told.Load() {
		return nil // an item has told it
	}
	return s.send(&pluginv1.Item{})
}
