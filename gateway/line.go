package gateway

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// deadlines is what a line sets: of a request ([http.ResponseController]) or of a connection ([net.Conn]).
type deadlines interface {
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// line is the connection of one streaming call as far as time goes. It may be used from many goroutines, and does
// nothing any more after release.
type line struct {
	mu       sync.Mutex // guards the fields below
	on       deadlines  // nil after release
	stall    time.Duration
	until    time.Time // when the write that goes on, or the next, has to be done
	hurrying bool
}

// newLine returns a line on which all has to be read and written within limit, until flow or hurry says otherwise.
func newLine(on deadlines, limit time.Duration) *line {
	at := time.Now().Add(limit)
	_ = on.SetReadDeadline(at) // a writer without deadlines (in tests) is left as it is
	_ = on.SetWriteDeadline(at)
	return &line{on: on}
}

// flow lets the call take any time. Only one write may not stand still for longer than stall: so a caller that reads
// slowly is waited for, and one that reads nothing is not.
func (l *line) flow(stall time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on == nil || l.hurrying {
		return
	}
	_ = l.on.SetReadDeadline(time.Time{})
	l.stall = stall
	l.extend()
}

// extend puts the deadline off, far enough that the next writes need not; mu is held.
func (l *line) extend() {
	l.until = time.Now().Add(2 * l.stall)
	_ = l.on.SetWriteDeadline(l.until)
}

// writes has to be called before each write.
func (l *line) writes() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on != nil && l.stall > 0 && !l.hurrying && time.Until(l.until) < l.stall {
		l.extend()
	}
}

// hurry leaves writeGrace for all that is still to be written: the run has failed, or its caller wants no more.
func (l *line) hurry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on != nil && !l.hurrying {
		l.hurrying = true
		_ = l.on.SetWriteDeadline(time.Now().Add(writeGrace))
	}
}

// stopReading ends the read that goes on, and all that follow.
func (l *line) stopReading() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on != nil {
		_ = l.on.SetReadDeadline(time.Unix(1, 0))
	}
}

// release lets go of the connection: it is not the handler's any more.
func (l *line) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on = nil
}

type lineKey struct{}

// lined gives a streaming call its line, in the context: Connect's handlers get nothing else of the request.
func lined(limit time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l := newLine(http.NewResponseController(w), limit)
		defer l.release()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), lineKey{}, l)))
	})
}

func lineOf(ctx context.Context) *line { return ctx.Value(lineKey{}).(*line) }
