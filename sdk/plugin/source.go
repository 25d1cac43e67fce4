package plugin

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
	"google.golang.org/grpc"
)

type handleStream = grpc.BidiStreamingServer[pluginv1.Item, pluginv1.Item]

const (
	// aheadItems is how many items may have come that the function has not taken. The node sends no more than that.
	aheadItems = 4
	// reportEvery is after how many items the node is told what the function has taken, if it does not wait for more:
	// half of what may be under way, so that the next ones are there before the last ones are used up.
	reportEvery = aheadItems / 2
)

// source is the input of a call. If it is a stream, one goroutine reads the connection, in run, so that notices come
// while nobody takes an item.
type source struct {
	stream handleStream
	env    *env
	items  chan *pluginv1.Item // nil if the input is one value
	why    error               // why items was closed

	taken  atomic.Uint64
	told   atomic.Uint64 // how much of taken the node knows
	report chan struct{} // holds one if the node is to be told

	waits functions.WaitClock // of the function, for items of a stream
}

func newSource(stream handleStream, env *env, streamed bool) *source {
	s := &source{stream: stream, env: env, report: make(chan struct{}, 1)}
	if streamed {
		s.items = make(chan *pluginv1.Item, aheadItems)
		s.waits.Changed = make(chan struct{}, 1)
	}
	return s
}

// run reads the connection until the call has ended.
func (s *source) run() {
	ended := false
	end := func(why error) {
		if !ended {
			ended, s.why = true, why
			close(s.items)
		}
	}
	for {
		m, err := s.stream.Recv()
		if err != nil {
			end(s.reason(err))
			return
		}
		if first := m.GetOver(); first > 0 {
			s.env.turns.Advance(first)
		}
		if len(m.GetValue()) > 0 && !ended {
			select {
			case s.items <- m:
			case <-s.stream.Context().Done():
			}
		}
		if m.GetEnd() {
			end(io.EOF)
		}
	}
}

// reason returns why the connection gives nothing more.
func (s *source) reason(err error) error {
	if ctx := s.stream.Context(); !errors.Is(err, io.EOF) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Recv takes the next item.
func (s *source) Recv(ctx context.Context) (functions.Item, error) {
	m, err := s.next(ctx)
	if err != nil {
		return functions.Item{}, err
	}
	it := functions.Item{Value: m.GetValue(), Seq: m.GetSeq(), Turn: m.GetTurn()}
	if ns := m.GetTimeUnixNanos(); ns != 0 {
		it.Time = time.Unix(0, ns)
	}
	s.env.blobs.take(m.GetBlobs())
	return it, nil
}

func (s *source) next(ctx context.Context) (*pluginv1.Item, error) {
	if s.items == nil {
		m, err := s.stream.Recv()
		if err != nil {
			err = s.reason(err)
		}
		return m, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if s.due() {
		s.ask()
	}
	if len(s.items) == 0 {
		s.waits.Begin()
		defer s.waits.End()
	}
	select {
	case m, ok := <-s.items:
		if !ok {
			return nil, s.why
		}
		if s.taken.Add(1)-s.told.Load() >= reportEvery {
			s.ask()
		}
		return m, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// due reports whether the function is about to wait while the node may wait for it.
func (s *source) due() bool { return len(s.items) == 0 && s.taken.Load() > s.told.Load() }

// ask has the node told what was taken. It does not wait: the connection may have no room while the output is not read.
func (s *source) ask() {
	select {
	case s.report <- struct{}{}:
	default:
	}
}
