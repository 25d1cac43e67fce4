package loadtest

import (
	"context"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// engine is a model that answers 7 with 70, 71 and 72, a token after the other. It counts what is open.
type engine struct {
	open     atomic.Int64 // generations
	sessions sync.Map     // that have asked, and not ended
}

const tokensPerAnswer = 3

func (e *engine) Generate(ctx context.Context, _ functions.Ref, req functions.Generation) (functions.Tokens, error) {
	n, err := strconv.Atoi(req.Messages[0].Content)
	if err != nil {
		return nil, err
	}
	e.open.Add(1)
	e.sessions.Store(req.Session, true)
	return &answer{e: e, ctx: ctx, next: n * 10}, nil
}

func (e *engine) Wake(context.Context, functions.Ref) error    { return nil }
func (e *engine) Prepare(context.Context, functions.Ref) error { return nil }
func (e *engine) EndSession(session string)                    { e.sessions.Delete(session) }

type answer struct {
	e      *engine
	ctx    context.Context // of the generation: a turn's, perhaps
	next   int
	given  int
	closed bool
}

func (a *answer) Recv(ctx context.Context) (functions.Token, error) {
	if a.given == tokensPerAnswer {
		return functions.Token{}, io.EOF
	}
	select {
	case <-time.After(time.Millisecond): // an engine takes its time
	case <-ctx.Done():
		return functions.Token{}, context.Cause(ctx)
	case <-a.ctx.Done():
		return functions.Token{}, context.Cause(a.ctx)
	}
	a.given++
	a.next++
	return functions.Token{Text: strconv.Itoa(a.next - 1)}, nil
}

func (a *answer) Close() error {
	if !a.closed {
		a.closed = true
		a.e.open.Add(-1)
	}
	return nil
}
