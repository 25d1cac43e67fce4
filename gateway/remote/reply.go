package remote

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// reply sends what a call yields, and beside it how many items of its input were taken. To tell the latter never waits
// for the caller: while an item is being sent it is left to who sends that.
type reply struct {
	stream *invokeStream
	taken  atomic.Uint64 // what is to be told

	mu   sync.Mutex    // held while one message is sent
	told atomic.Uint64 // written with mu held
}

func (r *reply) send(m *catenaryv1.InvokeResponse) error {
	r.mu.Lock()
	err := r.stream.Send(m)
	r.mu.Unlock()
	if err == nil && m.GetEnd() == nil {
		r.tell()
	}
	return err
}

// tell tells what was taken, unless somebody is sending: who does calls it afterwards. A failure to send shows with the
// next item.
func (r *reply) tell() {
	for r.taken.Load() > r.told.Load() && r.mu.TryLock() {
		taken := r.taken.Load()
		_ = r.stream.Send(&catenaryv1.InvokeResponse{Kind: &catenaryv1.InvokeResponse_Taken{Taken: taken}})
		r.told.Store(taken)
		r.mu.Unlock()
	}
}

// tellWaits tells how long the function has waited for its input. A failure shows as above.
func (r *reply) tellWaits(w functions.Waits) {
	_ = r.send(&catenaryv1.InvokeResponse{Kind: &catenaryv1.InvokeResponse_Waits{Waits: &catenaryv1.Waits{TotalNs: int64(w.Total), Now: w.Now}}})
}

// reporting is the input of a call that tells what was taken of it.
type reporting struct {
	in  *functions.Stream
	rep *reply

	waits functions.InputWaits

	// Of the goroutine that receives.
	items, told uint64
	bytes       int64 // since told
}

func newReporting(in *functions.Stream, rep *reply) *reporting {
	s := &reporting{in: in, rep: rep}
	s.waits.Changed = make(chan struct{}, 1)
	return s
}

// Ahead implements [functions.Awaited].
func (s *reporting) Ahead() (report func(functions.Waits)) { return s.waits.Ahead() }

// Recv implements functions.Source.
func (s *reporting) Recv(ctx context.Context) (functions.Item, error) {
	it, err := s.waits.Recv(ctx, s.in)
	if err != nil {
		return it, err
	}
	s.items++
	s.bytes += it.Size()
	if s.items-s.told >= reportItems || s.bytes >= reportBytes {
		s.told, s.bytes = s.items, 0
		s.rep.taken.Store(s.items)
		s.rep.tell()
	}
	return it, nil
}
