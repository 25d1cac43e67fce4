package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/catenary-run/catenary/functions"
)

const (
	headerTimeout = 10 * time.Second // for a request's header to come
	idleTimeout   = 2 * time.Minute  // for the next request on a connection
	maxHeader     = 64 << 10
	// pingAfter and pingTimeout find HTTP/2 peers that are gone without a word, so that what they hold is freed.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
	// streamWindow is what one HTTP/2 call may send ahead of its reader. A connection takes that of several calls, so that
	// a stream whose run is behind does not hold back what is sent beside it, such as its interruption.
	streamWindow     = 512 << 10
	connectionWindow = 4<<20 - 1 // the most that net/http takes
	// endGrace is how long runs may take to end once they are cancelled, before their connections are cut.
	endGrace = 5 * time.Second
	// writeGrace is how much longer than its call a reply may be written.
	writeGrace = 5 * time.Second
)

// Server is the doors of one process. Handler may be used from many goroutines; Serve is called once.
type Server struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	metrics *metrics
	results *results
	chains  *deployed
	handler http.Handler
	errs    *connect.ErrorWriter

	runs      chan struct{} // a slot per run
	uploads   chan struct{} // a slot per blob that is taken
	streaming streaming
	draining  atomic.Bool
	requests  flight // those that are being answered
	work      flight // those that a drain waits for with its port open
	ready     *readiness
}

// New returns a server; it starts nothing. Its error joins all faults of cfg and deps.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := errors.Join(cfg.Validate(), deps.validate(cfg.NodeOnly)); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, deps: deps, log: deps.Log,
		results: newResults(cfg.ResultBytes, cfg.ResultAge),
		runs:    make(chan struct{}, cfg.MaxRuns),
		uploads: make(chan struct{}, cfg.MaxUploads),
		errs:    connect.NewErrorWriter(),
		ready:   &readiness{checks: deps.Checks, log: deps.Log},
	}
	s.metrics = newMetrics(deps.Metrics, func() float64 { return float64(s.results.size(time.Now())) })
	if !cfg.NodeOnly {
		s.chains = newDeployed(deps.Catalogue, deps.Log)
	}
	s.handler = s.track(s.guard(s.routes()))
	return s, nil
}

// Handler returns all doors as one handler. A process that uses it without Serve reads every alias from the catalogue.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve answers on ln, HTTP/1.1 and HTTP/2 without TLS, until ctx ends; then it is not ready any more, refuses new runs,
// and lets what goes on end for Config.Drain. Only then it closes ln; it cancels what is left, and returns when all of
// it has ended. It returns nil after a drain, and why it could not go on otherwise.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	base, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler: s.handler, Protocols: protocols, BaseContext: func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: idleTimeout,
			MaxReceiveBufferPerConnection: connectionWindow, MaxReceiveBufferPerStream: streamWindow},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}

	var background sync.WaitGroup
	watched, stopWatch := context.WithCancel(base)
	if s.chains != nil {
		background.Go(func() { s.chains.watch(watched) })
	}
	served := make(chan error, 1)
	background.Go(func() { served <- srv.Serve(ln) })

	var broken error
	select {
	case err := <-served:
		broken = fmt.Errorf("serve on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	s.drain(srv, base, cancel)
	stopWatch()
	background.Wait()
	<-s.requests.idle()
	return broken
}

// track counts requests, and turns a panic into an internal error with its stack in the log.
func (s *Server) track(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.begin()
		defer s.requests.end()
		if s.draining.Load() { // it is refused, or asks how things are: nothing to wait for
			leave(w, r)
		} else {
			s.work.begin()
			defer s.work.end()
		}
		tw := &trackedWriter{ResponseWriter: w}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { // a reply that is cut off on purpose
				panic(p)
			}
			err := s.panicked(r.Context(), p)
			if tw.started {
				panic(http.ErrAbortHandler)
			}
			s.fail(tw, r, err)
		}()
		next.ServeHTTP(tw, r)
	})
}

// trackedWriter knows whether a reply has begun.
type trackedWriter struct {
	http.ResponseWriter
	started bool
}

func (w *trackedWriter) WriteHeader(status int) {
	w.started = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *trackedWriter) Write(b []byte) (int, error) {
	w.started = true
	return w.ResponseWriter.Write(b)
}

// Flush is there because Connect asks for an http.Flusher.
func (w *trackedWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Unwrap is for http.ResponseController.
func (w *trackedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// admit gives a request a slot for a run, for as long as it is answered, or refuses it at once.
func (s *Server) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.draining.Load() {
			s.fail(w, r, errDraining)
			return
		}
		select {
		case s.runs <- struct{}{}:
			defer func() { <-s.runs }()
		default:
			s.fail(w, r, fmt.Errorf("%w: %d runs are going on, the most that this server takes; call again later", functions.ErrQueueFull, s.cfg.MaxRuns))
			return
		}
		ctx, err := withCaller(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.metrics.runs.Inc()
		defer s.metrics.runs.Dec()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// limit gives a request the deadlines of a call that is one message each way. A door whose reply flows takes what the
// call was without them: see openCall.
func (s *Server) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := &openCall{ctx: r.Context(), line: newLine(http.NewResponseController(w), s.cfg.CallTimeout+writeGrace)}
		defer call.line.release()
		ctx, cancel := limited(context.WithValue(r.Context(), openCallKey{}, call), s.cfg.CallTimeout)
		defer cancel()
		// A read of the body does not see the context: a deadline in the past ends it. When the body is read there is
		// nothing to end, and over HTTP/1 the deadline would break the connection for the requests that follow.
		ended := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(ended)
			_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
		})
		settle := sync.OnceFunc(func() {
			if stop() {
				return
			}
			<-ended // w is not ours any more when this returns
			if r.ProtoMajor == 1 {
				w.Header().Set("Connection", "close") // it is broken already
			}
		})
		defer settle()
		r = r.WithContext(ctx)
		r.Body = &endingBody{r.Body, settle}
		next.ServeHTTP(w, r)
	})
}

// openCall is a call without the server's limit for one message each way.
type openCall struct {
	ctx  context.Context
	line *line
}

type openCallKey struct{}

// openCallOf returns the open call of a request that went through limit.
func openCallOf(r *http.Request) *openCall { return r.Context().Value(openCallKey{}).(*openCall) }

// endingBody calls ended when the body has ended, whichever way.
type endingBody struct {
	io.ReadCloser
	ended func()
}

func (b *endingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended()
	}
	return n, err
}

// limited returns a context that ends after limit, and says that it was the server's limit.
func limited(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: the server's limit for one call is %v", context.DeadlineExceeded, limit))
}

// setDeadlines bounds how long a request may be read and its reply written, so that a peer that stalls does not hold a
// slot. A writer that has no deadlines (in tests) is left as it is.
func setDeadlines(w http.ResponseWriter, after time.Duration) {
	rc, at := http.NewResponseController(w), time.Now().Add(after)
	_ = rc.SetReadDeadline(at)
	_ = rc.SetWriteDeadline(at)
}
