package sandboxtest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/catenary-run/catenary/functions"
)

// host is a functions.Host that records.
type host struct {
	models  []string // those that may be used
	answers []functions.Token

	mu       sync.Mutex // guards the fields below
	lines    []line
	requests []functions.Generation
	open     int // token streams that nobody has closed
}

type line struct {
	level slog.Level
	text  string
}

func (*host) Turns() *functions.Turns { return nil }

func (h *host) Generate(_ context.Context, model string, req functions.Generation) (functions.Tokens, error) {
	if !slices.Contains(h.models, model) {
		return nil, fmt.Errorf("%w: model %q is not declared", functions.ErrDenied, model)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, req)
	h.open++
	return &tokens{host: h, left: h.answers}, nil
}

func (h *host) Log(level slog.Level, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line{level, text})
}

// count returns the lines that contain text, and the level of the last of them.
func (h *host) count(text string) (n int, level slog.Level) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.lines {
		if strings.Contains(l.text, text) {
			n++
			level = l.level
		}
	}
	return n, level
}

type tokens struct {
	host *host
	left []functions.Token
	once sync.Once
}

func (t *tokens) Recv(ctx context.Context) (functions.Token, error) {
	if ctx.Err() != nil {
		return functions.Token{}, context.Cause(ctx)
	}
	if len(t.left) == 0 {
		return functions.Token{}, io.EOF
	}
	tok := t.left[0]
	t.left = t.left[1:]
	return tok, nil
}

func (t *tokens) Close() error {
	t.once.Do(func() {
		t.host.mu.Lock()
		defer t.host.mu.Unlock()
		t.host.open--
	})
	return nil
}
