package gateway

import (
	"context"
	"fmt"
	"sync"

	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// Interrupt makes turns of a run over that came by a door that streams.
func (c *chainService) Interrupt(ctx context.Context, req *catenaryv1.InterruptRequest) (*catenaryv1.InterruptResponse, error) {
	ended, err := c.s.interruptRun(ctx, req)
	c.s.metrics.answered("interrupt", err)
	if err != nil {
		return nil, c.s.publicError(ctx, err)
	}
	return &catenaryv1.InterruptResponse{Ended: ended}, nil
}

func (s *Server) interruptRun(ctx context.Context, req *catenaryv1.InterruptRequest) (bool, error) {
	if rn := s.streaming.find(req.Run); rn != nil {
		select {
		case <-rn.began:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
		if rn.interrupt != nil {
			return rn.interrupt(req.Turn, req.Sent)
		}
	}
	return false, fmt.Errorf("%w: run %q does not go on here: it has ended, or came to another server; there is the interrupt message of its stream, too",
		functions.ErrNotFound, clip(req.Run))
}

// streaming is the runs that can be interrupted from outside, by id. Each has a slot, so there are no more than
// Config.MaxRuns.
type streaming struct {
	mu   sync.Mutex // guards runs
	runs map[string]*running
}

func (s *streaming) add(rn *running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs == nil {
		s.runs = map[string]*running{}
	}
	s.runs[rn.run.id] = rn
}

func (s *streaming) find(id string) *running {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[id]
}

func (s *streaming) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.runs, id)
}
