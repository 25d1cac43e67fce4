package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// The headers of a plain reply.
const (
	headerRun   = "Catenary-Run"
	headerGraph = "Catenary-Graph"
)

// postChain runs a chain with a raw body: POST /chains/NAME. A body is one item, of a stream too.
func (s *Server) postChain(w http.ResponseWriter, r *http.Request) {
	err := s.plainRun(w, r)
	door := "plain"
	if wantsEvents(r) {
		door = "sse"
	}
	s.metrics.answered(door, err)
}

func (s *Server) plainRun(w http.ResponseWriter, r *http.Request) error {
	begin := time.Now()
	asked, err := callerTimeout(r)
	if err != nil {
		s.fail(w, r, err)
		return err
	}
	ctx, cancel := within(r.Context(), begin, asked)
	defer cancel()
	c, err := s.chains.resolve(ctx, r.PathValue("name"))
	if err != nil {
		s.fail(w, r, err)
		return err
	}
	in, status, err := s.readInput(ctx, w, r, c.In().Schema)
	if err != nil {
		s.failStatus(w, r, status, err)
		return err
	}
	id := newID()
	w.Header().Set(headerRun, id)
	w.Header().Set(headerGraph, string(c.Hash()))
	rn := run{id: id, chain: c, in: functions.Items(in)}
	call, events := openCallOf(r), wantsEvents(r)
	a := s.newAnswer(w, call.line, c.Out())
	if _, flows := a.(*streamAnswer); flows || events && c.flows() {
		call.line.flow(s.cfg.StreamIdle + writeGrace)
		ctx, cancel = within(call.ctx, begin, asked)
		defer cancel()
		defer context.AfterFunc(ctx, call.line.hurry)()
		rn.idle, rn.hurry = s.cfg.StreamIdle, call.line.hurry
	}
	if events {
		return s.eventRun(ctx, w, r, rn)
	}
	rn.door, rn.out = "plain", func(_ context.Context, it functions.Item) error { return a.item(it) }
	_, err = s.execute(ctx, rn)
	if err == nil {
		err = a.end()
	}
	if err == nil {
		return nil
	}
	if !a.begun() {
		s.fail(w, r, err)
		return err
	}
	// Part of the reply is out: only a broken connection tells the client that it is not the whole.
	s.log.Info("plain reply cut off", "chain", r.PathValue("name"), "run", id, "err", functions.OneLine(err))
	s.metrics.answered("plain", err)
	panic(http.ErrAbortHandler)
}

// callerTimeout returns the time that the caller gives a call, in Connect's header; 0 if it gives none.
func callerTimeout(r *http.Request) (time.Duration, error) {
	const header = "Connect-Timeout-Ms"
	text := r.Header.Get(header)
	if text == "" {
		return 0, nil
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms <= 0 || len(text) > 10 { // ten digits are Connect's bound
		return 0, fmt.Errorf("%w: header %s: %q is not a count of milliseconds", functions.ErrInvalid, header, clip(text))
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// within narrows ctx to the time that the caller of a call that began at begin asked for; 0 is any.
func within(ctx context.Context, begin time.Time, asked time.Duration) (context.Context, context.CancelFunc) {
	if asked == 0 {
		return ctx, func() {}
	}
	return context.WithDeadlineCause(ctx, begin.Add(asked), errCallerLimit(asked))
}

func errCallerLimit(limit time.Duration) error {
	return fmt.Errorf("%w: the caller's limit for the call is %v", context.DeadlineExceeded, limit)
}

// readInput returns the input that the body of a plain request stands for. With an error comes the HTTP status that
// fits it, or 0 for that of its code.
func (s *Server) readInput(ctx context.Context, w http.ResponseWriter, r *http.Request, schema *functions.Schema) (functions.Item, int, error) {
	fail := func(status int, err error) (functions.Item, int, error) { return functions.Item{}, status, err }
	kind, mediaType, err := kindOf(schema, r.Header.Get("Content-Type"))
	if err != nil {
		w.Header().Set("Accept-Post", strings.Join(accepts(schema), ", "))
		return fail(http.StatusUnsupportedMediaType, err)
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return fail(http.StatusUnsupportedMediaType, fmt.Errorf("%w: Content-Encoding %q; send the body as it is", functions.ErrInvalid, clip(enc)))
	}
	if r.ContentLength > s.cfg.MaxBody {
		return fail(http.StatusRequestEntityTooLarge, errTooLarge(s.cfg.MaxBody))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.cfg.MaxBody))
	if _, is := errors.AsType[*http.MaxBytesError](err); is {
		return fail(http.StatusRequestEntityTooLarge, errTooLarge(s.cfg.MaxBody))
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		} else {
			err = fmt.Errorf("%w: read the body: %w", functions.ErrInvalid, err)
		}
		return fail(0, err)
	}
	// The body is here. From now on the context alone bounds the run: a read deadline would end it as if the client
	// had gone.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if len(body) == 0 {
		return fail(0, fmt.Errorf("%w: the body is empty; this chain takes %s", functions.ErrInvalid, schema))
	}
	v, blobs, err := parseBody(schema, kind, mediaType, body, s.opener(ctx))
	if err != nil {
		return fail(0, fmt.Errorf("input: %w", err))
	}
	it, err := s.inputOf(v, blobs)
	return it, 0, err
}

func errTooLarge(limit int64) error {
	return fmt.Errorf("%w: the body is larger than %d bytes, the most that this server takes (--max-body); PUT large blobs to /blobs/HEX and refer to them", functions.ErrMemoryLimit, limit)
}

// description is what GET /chains/NAME tells of a chain.
type description struct {
	Name    string         `json:"name"`
	Graph   string         `json:"graph"`
	In      functions.Port `json:"in"`
	Out     functions.Port `json:"out"`
	Accepts []string       `json:"accepts"`
	Steps   []stepOf       `json:"steps"`
}

type stepOf struct {
	Name string  `json:"name"`
	Op   spec.Op `json:"op"`
	Func string  `json:"func,omitempty"`
	From string  `json:"from"`
	Out  string  `json:"out"` // type, for people
}

// describeChain answers GET /chains/NAME.
func (s *Server) describeChain(w http.ResponseWriter, r *http.Request) {
	c, err := s.chains.resolve(r.Context(), r.PathValue("name"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	g := c.Graph()
	d := description{Name: g.Spec.Name, Graph: string(c.Hash()), In: c.In(), Out: c.Out(), Accepts: accepts(c.In().Schema)}
	g.Spec.Walk(func(st spec.Step) {
		d.Steps = append(d.Steps, stepOf{st.Name, st.Op, st.Func, st.From, c.steps[st.Name].String()})
	})
	body, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	_ = send(w, "application/json", append(body, '\n'))
}
