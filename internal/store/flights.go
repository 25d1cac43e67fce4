package store

import (
	"context"
	"sync"

	"github.com/catenary-run/catenary/functions"
)

// flights lets one caller per digest work at a time. The next one begins when the last has ended, and finds what that
// left: so a caller that gives up takes nobody along, as it would with a shared result. The zero value is ready.
type flights struct {
	mu    sync.Mutex // guards turns
	turns map[functions.Digest]*turn
}

type turn struct {
	token chan struct{} // capacity 1: full while somebody works
	users int           // how many wait or work; guarded by flights.mu
}

// alone calls do while nobody else does so for d.
func (f *flights) alone(ctx context.Context, d functions.Digest, do func() error) error {
	t := f.enter(d)
	defer f.leave(d, t)
	select {
	case t.token <- struct{}{}:
		defer func() { <-t.token }()
		return do()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *flights) enter(d functions.Digest) *turn {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.turns[d]
	if t == nil {
		t = &turn{token: make(chan struct{}, 1)}
		if f.turns == nil {
			f.turns = map[functions.Digest]*turn{}
		}
		f.turns[d] = t
	}
	t.users++
	return t
}

func (f *flights) leave(d functions.Digest, t *turn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(f.turns, d)
	}
}
