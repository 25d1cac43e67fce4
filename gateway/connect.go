package gateway

import (
	"bytes"
	"context"
	"fmt"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// chainService implements catenary.v1.ChainService.
type chainService struct{ s *Server }

// Run runs a chain and returns its whole answer.
func (c *chainService) Run(ctx context.Context, req *catenaryv1.RunRequest) (*catenaryv1.RunResponse, error) {
	resp, err := c.s.unaryRun(ctx, req)
	c.s.metrics.answered("run", err)
	if err != nil {
		return nil, c.s.publicError(ctx, err)
	}
	return resp, nil
}

func (s *Server) unaryRun(ctx context.Context, req *catenaryv1.RunRequest) (*catenaryv1.RunResponse, error) {
	ch, err := s.chains.resolve(ctx, req.Chain)
	if err != nil {
		return nil, err
	}
	in, err := s.inputJSON(ctx, ch.In().Schema, req.Json)
	if err != nil {
		return nil, err
	}
	out := ch.Out()
	var body bytes.Buffer
	report, err := s.execute(ctx, run{id: newID(), door: "run", chain: ch, in: functions.Items(in), out: func(_ context.Context, it functions.Item) error {
		b, err := value.ToJSON(out.Schema, it.Value)
		if err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		if int64(body.Len()+len(b)) > s.cfg.MaxItem {
			return fmt.Errorf("%w: the answer is larger than %d bytes, the most that is sent whole; use Stream", functions.ErrOutputLimit, s.cfg.MaxItem)
		}
		if out.Stream {
			body.WriteByte(separator(body.Len()))
		}
		body.Write(b)
		return nil
	}})
	if err != nil {
		return nil, err
	}
	if out.Stream {
		if body.Len() == 0 {
			body.WriteByte('[')
		}
		body.WriteByte(']')
	}
	return &catenaryv1.RunResponse{Json: body.Bytes(), Graph: string(report.Graph), Timing: timings(report)}, nil
}

// separator comes before an element of an array of which n bytes are written.
func separator(n int) byte {
	if n == 0 {
		return '['
	}
	return ','
}
