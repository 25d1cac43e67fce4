package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
)

// The kinds of what a run tells a browser. A Server-Sent Event has the kind as its name and the body as its data; a
// WebSocket gets {"KIND":BODY}.
const (
	eventStarted  = "started" // first
	eventItem     = "item"
	eventAudio    = "audio" // of a WebSocket only: the samples follow as a binary message
	eventTurnOver = "turn_over"
	eventObserved = "observed"
	eventTiming   = "timing"
	eventEnd      = "end"   // last, if the run went well
	eventError    = "error" // last, if not: in Connect's JSON
)

// startedEvent names a run that has begun, for the RPC Interrupt.
type startedEvent struct {
	Run   string           `json:"run"`
	Graph functions.Digest `json:"graph"`
}

// itemEvent is one item of the output.
type itemEvent struct {
	Seq   uint64          `json:"seq"`
	Turn  uint64          `json:"turn"`
	Time  *time.Time      `json:"time,omitempty"`
	Value json.RawMessage `json:"value"`
	// Blobs has the bytes of what Value refers to, if the caller asked for them.
	Blobs []blobEvent `json:"blobs,omitempty"`
}

type blobEvent struct {
	functions.Blob
	Data []byte `json:"data"` // base64 in JSON
}

type turnOverEvent struct {
	Turn uint64 `json:"turn"`
}

type observedEvent struct {
	Step  string          `json:"step"`
	Seq   uint64          `json:"seq"`
	Turn  uint64          `json:"turn"`
	Value json.RawMessage `json:"value"`
}

// timingEvent is what a step took; durations in nanoseconds.
type timingEvent struct {
	Step        string        `json:"step"`
	StartNs     time.Duration `json:"start_ns"`
	WakeNs      time.Duration `json:"wake_ns"`
	QueueNs     time.Duration `json:"queue_ns"`
	FirstItemNs time.Duration `json:"first_item_ns"`
	TotalNs     time.Duration `json:"total_ns"`
	BusyNs      time.Duration `json:"busy_ns"`
	Calls       int64         `json:"calls"`
	BytesIn     int64         `json:"bytes_in"`
	BytesOut    int64         `json:"bytes_out"`
}

type endEvent struct {
	Graph functions.Digest `json:"graph"`
}

func newItemEvent(s *functions.Schema, it functions.Item, inline bool) (itemEvent, error) {
	b, err := value.ToJSON(s, it.Value)
	if err != nil {
		return itemEvent{}, fmt.Errorf("answer: %w", err)
	}
	ev := itemEvent{Seq: it.Seq, Turn: it.Turn, Time: timeOf(it), Value: b}
	if inline {
		for _, a := range it.Blobs {
			ev.Blobs = append(ev.Blobs, blobEvent{a.Blob, a.Data})
		}
	}
	return ev, nil
}

func timeOf(it functions.Item) *time.Time {
	if it.Time.IsZero() {
		return nil
	}
	t := it.Time.UTC()
	return &t
}

// audience is who is told of a run, an event at a time and in order. Its send returns an error once the caller is gone.
type audience interface {
	send(kind string, body any) error
}

// tell makes r tell to what happens but for its items and its end; wrong ends the run if that can't be told.
func (r *run) tell(to audience, observe []string, wrong func(error)) {
	// A failure to send ends the run through its context.
	r.started = func() { _ = to.send(eventStarted, startedEvent{r.id, r.chain.Hash()}) }
	r.turnOver = func(turn uint64) {
		_ = to.send(eventTurnOver, turnOverEvent{turn})
	}
	if len(observe) == 0 {
		return
	}
	r.observe, r.observed = observe, func(step string, it functions.Item) {
		b, err := value.ToJSON(r.chain.steps[step], it.Value)
		if err != nil {
			wrong(fmt.Errorf("observe step %s: %w", step, err))
			return
		}
		_ = to.send(eventObserved, observedEvent{Step: step, Seq: it.Seq, Turn: it.Turn, Value: b})
	}
}

// tellEnd tells how a run ended, after what its steps took if they were observed.
func (s *Server) tellEnd(ctx context.Context, to audience, observed bool, report chains.Report, failed error) error {
	if observed {
		for _, st := range report.Steps {
			if err := to.send(eventTiming, timingEvent{
				Step: st.Step, StartNs: st.Start, WakeNs: st.Wake, QueueNs: st.Queue, FirstItemNs: st.FirstItem, TotalNs: st.Total,
				BusyNs: st.Busy, Calls: st.Calls, BytesIn: st.BytesIn, BytesOut: st.BytesOut,
			}); err != nil {
				return err
			}
		}
	}
	if failed != nil {
		return to.send(eventError, s.errorJSON(ctx, failed))
	}
	return to.send(eventEnd, endEvent{report.Graph})
}

// errorJSON returns err as the plain doors answer it, without line breaks.
func (s *Server) errorJSON(ctx context.Context, err error) json.RawMessage {
	w := &bodyWriter{header: http.Header{}}
	r := &http.Request{Method: http.MethodPost, Header: http.Header{"Content-Type": {"application/json"}}}
	_ = s.errs.Write(w, r, s.publicError(ctx, err)) // w takes all
	return w.body
}

// bodyWriter keeps the body of a reply.
type bodyWriter struct {
	header http.Header
	body   []byte
}

func (w *bodyWriter) Header() http.Header { return w.header }
func (w *bodyWriter) WriteHeader(int)     {}
func (w *bodyWriter) Write(b []byte) (int, error) {
	w.body = append(w.body, b...)
	return len(b), nil
}
