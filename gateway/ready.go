package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
)

const (
	// probeAge is how long an answer stands: whoever asks meanwhile gets it again, so that no count of probes makes
	// more work than one probe in this time.
	probeAge = 2 * time.Second
	// probeLimit bounds one probe. Kubernetes gives its own a second, unless told otherwise.
	probeLimit = 800 * time.Millisecond
)

// Check is something beyond the process without which a server can't do its work: its store, its node.
type Check struct {
	Name string // for people: "the store redis://10.0.0.5:6379/0"
	// Ping returns an error if it is not reachable. It ends when ctx does.
	Ping func(ctx context.Context) error
}

// readiness knows whether all that a server needs is reachable. It asks only when it is asked, once for all who ask at
// the same time, and starts nothing that outlives the request which probes.
type readiness struct {
	checks []Check
	log    *slog.Logger

	mu      sync.Mutex // guards the fields below
	asked   bool
	at      time.Time     // of the last answer
	err     error         // the last answer
	probing chan struct{} // closed when the probe that goes on has ended; nil if there is none
}

// state returns nil if everything is reachable, and a sentence that names what is not.
func (r *readiness) state(ctx context.Context) error {
	r.mu.Lock()
	if r.asked && time.Since(r.at) < probeAge {
		defer r.mu.Unlock()
		return r.err
	}
	if probe := r.probing; probe != nil {
		r.mu.Unlock()
		select {
		case <-probe:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.err
	}
	probe := make(chan struct{})
	r.probing = probe
	r.mu.Unlock()

	// Others wait for this answer: it must not end because who happened to ask first has gone.
	err := r.probe(context.WithoutCancel(ctx))

	r.mu.Lock()
	was := r.err
	r.asked, r.at, r.err, r.probing = true, time.Now(), err, nil
	close(probe)
	r.mu.Unlock()
	switch {
	case err != nil && was == nil:
		r.log.Warn("not ready", "err", functions.OneLine(err))
	case err == nil && was != nil:
		r.log.Info("ready again")
	}
	return err
}

// probe asks all checks at once and joins what they say.
func (r *readiness) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, probeLimit, fmt.Errorf("%w: no answer within %v", functions.ErrUnavailable, probeLimit))
	defer cancel()
	faults := make([]error, len(r.checks))
	var asking sync.WaitGroup
	for i, c := range r.checks {
		asking.Go(func() {
			if err := c.Ping(ctx); err != nil {
				faults[i] = fmt.Errorf("%s is not reachable: %w", c.Name, err)
			}
		})
	}
	asking.Wait()
	return errors.Join(faults...)
}

// readyz answers GET /readyz.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		say(w, http.StatusServiceUnavailable, "draining\n")
		return
	}
	if err := s.ready.state(r.Context()); err != nil {
		say(w, http.StatusServiceUnavailable, "not ready: "+functions.OneLine(err)+"\n")
		return
	}
	say(w, http.StatusOK, "ready\n")
}
