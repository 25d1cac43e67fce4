package gpu

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// TestReal_DeadlinesOfOthers: the deadlines of many callers pass at any point of their calls. Each ends with its own
// cause, and the worker, with all that others have in it, lives on.
func TestReal_DeadlinesOfOthers(t *testing.T) {
	models := catalogue{}
	llm := models.add("llm", tinyFile(t))
	r := startReal(t, models, nil)
	if err := r.Wake(t.Context(), llm); err != nil {
		t.Fatal(err)
	}
	var callers sync.WaitGroup
	for i := range uint64(8) {
		callers.Go(func() {
			random := rand.New(rand.NewPCG(1, i))
			for n := range 100 {
				errMine := fmt.Errorf("%w: of call %d", context.DeadlineExceeded, n)
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Duration(random.IntN(20_000))*time.Microsecond, errMine)
				req := functions.Generation{Messages: ask("tell me a story about a fox").Messages, MaxTokens: 5}
				tokens, err := r.Generate(ctx, llm, req)
				if err == nil {
					_, _, _, err = read(t.Context(), tokens)
					_ = tokens.Close()
				}
				if err != nil && !errors.Is(err, errMine) {
					t.Errorf("got %v, want the answer or %v", err, errMine)
				}
				cancel()
			}
		})
	}
	callers.Wait()
	if n := r.starts.Load(); n != 1 {
		t.Errorf("%d workers were started, want 1", n)
	}
}
