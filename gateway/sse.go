package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// heartbeat is how long a connection of Server-Sent Events stays silent: proxies cut what is silent for a minute.
const heartbeat = 15 * time.Second

// The parameters of a URL that streams.
const (
	paramObserve = "observe" // names of steps, apart by commas; may come again
	paramBlobs   = "blobs"   // "inline": items come with the bytes of their blobs
)

// wantsEvents reports whether the caller asks for Server-Sent Events.
func wantsEvents(r *http.Request) bool {
	for _, accept := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(accept, ",") {
			if t, _, err := mime.ParseMediaType(part); err == nil && t == "text/event-stream" {
				return true
			}
		}
	}
	return false
}

// eventRun runs a chain and answers with Server-Sent Events. From the first byte on, which is sent at once, an error is
// an event as well.
func (s *Server) eventRun(ctx context.Context, w http.ResponseWriter, r *http.Request, rn run) error {
	observe, inline, err := streamParams(r, rn.chain)
	if err != nil {
		s.fail(w, r, err)
		return err
	}
	defer s.metrics.stream("sse")()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	events := &eventWriter{w: w, line: openCallOf(r).line, gone: func(err error) { cancel(errGone(err)) }}
	if err := events.begin(); err != nil {
		return errGone(err)
	}
	rn.door, rn.bytes = "sse", inline
	rn.tell(events, observe, cancel)
	rn.out = func(_ context.Context, it functions.Item) error {
		ev, err := newItemEvent(rn.chain.Out().Schema, it, inline)
		if err != nil {
			return err
		}
		return events.send(eventItem, ev)
	}
	var beats sync.WaitGroup
	over := make(chan struct{})
	beats.Go(func() { events.beat(over) })
	report, err := s.execute(ctx, rn)
	close(over)
	beats.Wait()
	if err != nil {
		events.line.hurry()
	}
	if gone := s.tellEnd(ctx, events, len(observe) > 0, report, err); err == nil {
		err = gone
	}
	return err
}

// streamParams reads the parameters of a URL.
func streamParams(r *http.Request, c *chain) (observe []string, inline bool, err error) {
	query := r.URL.Query()
	for _, list := range query[paramObserve] {
		for name := range strings.SplitSeq(list, ",") {
			observe = append(observe, strings.TrimSpace(name))
		}
	}
	if err := c.observable(observe); err != nil {
		return nil, false, err
	}
	inline, err = wantsInline(query.Get(paramBlobs))
	return observe, inline, err
}

// wantsInline reads how a caller wants the blobs of items.
func wantsInline(blobs string) (bool, error) {
	switch blobs {
	case "", "refs":
		return false, nil
	case "inline":
		return true, nil
	}
	return false, fmt.Errorf("%w: blobs %q is neither refs nor inline", functions.ErrInvalid, clip(blobs))
}

// eventWriter writes Server-Sent Events. It may be used from many goroutines.
type eventWriter struct {
	w    http.ResponseWriter
	line *line
	gone func(error) // called when the caller takes no more

	mu   sync.Mutex // held while one event is written
	last time.Time  // when something was written
}

func (e *eventWriter) begin() error {
	h := e.w.Header()
	setType(e.w, "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would collect the events
	e.w.WriteHeader(http.StatusOK)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.write([]byte(": here it comes\n\n"))
}

// write writes b at once; mu is held.
func (e *eventWriter) write(b []byte) error {
	e.last = time.Now()
	e.line.writes()
	_, err := e.w.Write(b)
	if err == nil {
		err = http.NewResponseController(e.w).Flush()
	}
	if err != nil {
		e.gone(err)
		return errGone(err)
	}
	return nil
}

// send implements audience.
func (e *eventWriter) send(kind string, body any) error {
	data, err := json.Marshal(body) // on one line: Marshal compacts what is JSON already, too
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", kind, data)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.write(b.Bytes())
}

// beat writes a comment whenever nothing was written for a while, until over is closed.
func (e *eventWriter) beat(over <-chan struct{}) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
			e.mu.Lock()
			var err error
			if time.Since(e.last) >= heartbeat {
				err = e.write([]byte(": still here\n\n"))
			}
			e.mu.Unlock()
			if err != nil {
				return
			}
		}
	}
}
