package gateway

import (
	"context"
	"net/http"
	"sync"
)

// flight counts requests and tells when the last of them has ended.
type flight struct {
	mu   sync.Mutex // guards the fields below
	n    int
	done chan struct{} // closed when n comes down to 0; nil while nobody waits for that
}

func (f *flight) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
}

func (f *flight) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n--
	if f.n == 0 && f.done != nil {
		close(f.done)
		f.done = nil
	}
}

// idle returns a channel that is closed as soon as nothing is in flight: at once, if nothing is now.
func (f *flight) idle() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n == 0 {
		none := make(chan struct{})
		close(none)
		return none
	}
	if f.done == nil {
		f.done = make(chan struct{})
	}
	return f.done
}

// some reports whether anything is in flight.
func (f *flight) some() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n > 0
}

// works counts a request of a further service as work, whenever it comes: a step of a run that began before the drain,
// elsewhere, looks like any other call.
func (s *Server) works(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.work.begin()
		defer s.work.end()
		next.ServeHTTP(w, r)
	})
}

// drain ends what srv does. The port stays open while work goes on, for Config.Drain at most, so that probes and
// balancers hear that this server is going, and callers that they should ask another one. Then it is closed, and what
// has not ended in time is cancelled, with cancel, and in the end cut off.
func (s *Server) drain(srv *http.Server, base context.Context, cancel context.CancelCauseFunc) {
	s.draining.Store(true)
	s.log.Info("draining", "limit", s.cfg.Drain)
	limit, stop := context.WithTimeout(base, s.cfg.Drain)
	defer stop()
	select {
	case <-s.work.idle():
	case <-limit.Done():
	}
	// Shutdown closes the port, and waits until what still moves has ended: a reply that is written, a blob. It does not
	// know of WebSockets.
	if srv.Shutdown(limit) != nil || s.work.some() {
		s.log.Warn("cancelling what has not ended in time")
		cancel(errDraining)
		grace, stop := context.WithTimeout(context.WithoutCancel(base), endGrace)
		defer stop()
		select {
		case <-s.work.idle():
		case <-grace.Done():
		}
		_ = srv.Shutdown(grace)
		_ = srv.Close() // what is left is stuck in a read or a write: this ends it
	}
}

// leave tells the peer of a server that drains to come on another connection and so, behind a balancer, to another
// server. Over HTTP/2 that would be a GOAWAY, which breaks calls that are on their way: Shutdown sends it when nothing
// goes on any more.
func leave(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}
