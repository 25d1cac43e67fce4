package wasm

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/catenary-run/catenary/functions"
)

// testHost records lines and has one model.
type testHost struct {
	mu    sync.Mutex
	lines []string
	err   error // of Generate
}

func discardHost() *testHost { return &testHost{} }

func (*testHost) Turns() *functions.Turns { return nil }

func (h *testHost) Generate(_ context.Context, model string, _ functions.Generation) (functions.Tokens, error) {
	if h.err != nil {
		return nil, h.err
	}
	return nil, fmt.Errorf("%w: model %s", functions.ErrDenied, model)
}

func (h *testHost) Log(_ slog.Level, line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line)
}
