package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"

	"github.com/catenary-run/catenary/functions"
)

// maxLogLine bounds one line of a function's log in bytes.
const maxLogLine = 8 << 10

// maxGenerations is how many generations a call may have at a time: half of what a model has by default. A call that took
// all, and waited for one more, would hold up everybody else until its time is over.
const maxGenerations = 4

// host is what one call may reach.
type host struct {
	models   Models
	manifest *functions.Manifest
	pins     []functions.Ref
	turns    *functions.Turns
	session  string // of its generations; empty for a call of one value
	caller   string
	priority functions.Priority
	logger   func() *slog.Logger

	mu     sync.Mutex // guards the fields below
	closed bool
	asked  int // generations that are open or are being begun
	open   map[*hostTokens]struct{}
}

func newHost(p *Pools, m *functions.Manifest, instance string, call functions.Call) *host {
	h := &host{
		models:   p.models,
		manifest: m,
		pins:     call.Models,
		turns:    call.Turns,
		caller:   call.Caller,
		priority: call.Priority,
		logger: sync.OnceValue(func() *slog.Logger { // most calls log nothing
			return p.log.With("func", m.Name, "instance", instance, "run", call.Run, "step", call.Step)
		}),
	}
	if m.In.Stream && len(m.Uses.Models) > 0 {
		h.session = fmt.Sprintf("%s/%s/%d", call.Run, call.Step, p.sessions.Add(1))
	}
	return h
}

// Generate implements [functions.Host].
func (h *host) Generate(ctx context.Context, model string, req functions.Generation) (functions.Tokens, error) {
	if !slices.Contains(h.manifest.Uses.Models, model) {
		return nil, fmt.Errorf("%w: function %s does not declare model %q; add it to its uses: {models: [...]} and deploy again", functions.ErrDenied, h.manifest.Name, model)
	}
	i := slices.IndexFunc(h.pins, func(r functions.Ref) bool { return r.Name == model })
	if i < 0 {
		return nil, fmt.Errorf("%w: the call of %s comes without a version of model %q; deploy the model, then the chain", functions.ErrNotFound, h.manifest.Name, model)
	}
	if h.models == nil {
		return nil, errNoModels(model)
	}
	if err := h.ask(model); err != nil {
		return nil, err
	}
	req.Session, req.Caller, req.Priority = h.session, h.caller, h.priority // whatever the function says
	tokens, err := h.models.Generate(ctx, h.pins[i], req)
	t := &hostTokens{Tokens: tokens, host: h}
	h.mu.Lock()
	if err != nil {
		h.asked--
		h.mu.Unlock()
		return nil, err
	}
	closed := h.closed
	if !closed {
		if h.open == nil {
			h.open = map[*hostTokens]struct{}{}
		}
		h.open[t] = struct{}{}
	}
	h.mu.Unlock()
	if closed {
		tokens.Close()
		return nil, fmt.Errorf("%w: the call of %s has ended", functions.ErrClosed, h.manifest.Name)
	}
	return t, nil
}

// ask counts one generation more, if there may be one.
func (h *host) ask(model string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked == maxGenerations {
		return fmt.Errorf("%w: this call of %s has %d generations open, the most for one call; close one, or read it to its end, before it asks model %q again",
			functions.ErrQueueFull, h.manifest.Name, maxGenerations, model)
	}
	h.asked++
	return nil
}

// Log implements [functions.Host].
func (h *host) Log(level slog.Level, line string) {
	if len(line) > maxLogLine {
		h.logger().Log(context.Background(), level, line[:maxLogLine], "cut_bytes", len(line)-maxLogLine)
		return
	}
	h.logger().Log(context.Background(), level, line)
}

// Turns implements [functions.Host].
func (h *host) Turns() *functions.Turns { return h.turns }

// close ends the generations that the function has left open, and its session.
func (h *host) close() {
	h.mu.Lock()
	h.closed = true
	open := h.open
	h.open = nil
	h.mu.Unlock()
	for t := range open {
		t.Tokens.Close()
	}
	if h.session != "" && h.models != nil {
		h.models.EndSession(h.session)
	}
}

// hostTokens is a generation that ends with its call at the latest.
type hostTokens struct {
	functions.Tokens
	host *host
}

// Recv implements [functions.Tokens]. A generation that has ended is closed.
func (t *hostTokens) Recv(ctx context.Context) (functions.Token, error) {
	tok, err := t.Tokens.Recv(ctx)
	if errors.Is(err, io.EOF) {
		_ = t.Close() // it went well, and nothing is left
	}
	return tok, err
}

// Close implements [functions.Tokens].
func (t *hostTokens) Close() error {
	t.host.mu.Lock()
	if _, open := t.host.open[t]; open {
		delete(t.host.open, t)
		t.host.asked--
	}
	t.host.mu.Unlock()
	return t.Tokens.Close()
}
