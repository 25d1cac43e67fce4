package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// routes returns every door. Runs go through admit before their bodies are read.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	names := []string{grpchealth.HealthV1ServiceName}
	opts := []connect.HandlerOption{
		connect.WithReadMaxBytes(int(s.cfg.MaxBody)),
		connect.WithRecover(func(ctx context.Context, _ connect.Spec, _ http.Header, p any) error {
			return s.publicError(ctx, s.panicked(ctx, p))
		}),
	}
	if !s.cfg.NodeOnly {
		path, rpc := catenaryv1.NewChainServiceHandler(&chainService{s}, opts...)
		mux.Handle(path, s.bounded(s.fitting(rpc)))
		mux.Handle(catenaryv1.ChainServiceRunProcedure, s.admit(s.limit(s.fitting(rpc))))
		mux.Handle(catenaryv1.ChainServiceStreamProcedure, s.admit(lined(s.cfg.CallTimeout+writeGrace, rpc)))
		names = append(names, catenaryv1.ChainServiceName)

		mux.Handle("POST /chains/{name}", s.admit(s.limit(http.HandlerFunc(s.postChain))))
		socket := s.admit(http.HandlerFunc(s.getSocket))
		mux.HandleFunc("GET /chains/{name}", func(w http.ResponseWriter, r *http.Request) {
			if wantsSocket(r) {
				socket.ServeHTTP(w, r)
				return
			}
			s.describeChain(w, r)
		})
		mux.HandleFunc("/chains/{name}", s.notAllowed("GET, HEAD, POST"))
		mux.HandleFunc("PUT /blobs/{hex}", s.putBlob)
		mux.HandleFunc("GET /blobs/{hex}", s.getBlob)
		mux.HandleFunc("/blobs/{hex}", s.notAllowed("GET, HEAD, PUT"))
	}
	for _, svc := range s.deps.Services {
		mux.Handle(svc.Path, s.works(svc.Handler))
		names = append(names, svc.Name)
	}
	mux.Handle(grpchealth.NewHandler(&checker{s, names}, opts...))
	reflector := grpcreflect.NewStaticReflector(names...)
	mux.Handle(grpcreflect.NewHandlerV1(reflector, opts...))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector, opts...))

	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.deps.Metrics, promhttp.HandlerOpts{}))
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		mux.HandleFunc(path, s.notAllowed("GET, HEAD"))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, fmt.Errorf("%w: there is no door at %q; see POST /chains/NAME, /blobs/HEX and the services of catenary.v1", functions.ErrNotFound, clip(r.URL.Path)))
	})
	return mux
}

// bounded gives the calls that are no runs the deadlines of a deploy.
func (s *Server) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setDeadlines(w, s.cfg.DeployTimeout+writeGrace)
		next.ServeHTTP(w, r)
	})
}

// fitting refuses a call of one message that is larger than this server takes, in words that name the remedy. One that
// does not say how large it is is read first: Connect would hold it all the same.
func (s *Server) fitting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse := func() {
			s.failStatus(w, r, http.StatusRequestEntityTooLarge, errTooLarge(s.cfg.MaxBody))
		}
		if r.ContentLength > s.cfg.MaxBody {
			refuse()
			return
		}
		if r.ContentLength < 0 {
			body, err := io.ReadAll(io.LimitReader(r.Body, s.cfg.MaxBody+frameBytes))
			if err == nil && int64(len(body)) >= s.cfg.MaxBody+frameBytes {
				refuse()
				return
			}
			// What broke off breaks off for who reads it, too.
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
		}
		next.ServeHTTP(w, r)
	})
}

// frameBytes is more than what the protocols add to a message.
const frameBytes = 64

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

func (s *Server) notAllowed(allow string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		s.failStatus(w, r, http.StatusMethodNotAllowed, connect.NewError(connect.CodeUnimplemented,
			fmt.Errorf("%s is not a method of %s; use %s", clip(r.Method), clip(r.URL.Path), allow)))
	}
}

// fail answers with err: in the protocol of the request, and in Connect's JSON where that is none.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) { s.failStatus(w, r, 0, err) }

// failStatus is fail with an HTTP status of its own, where Connect's codes have none for the case.
func (s *Server) failStatus(w http.ResponseWriter, r *http.Request, status int, err error) {
	ce := s.publicError(r.Context(), err)
	if status != 0 && !grpcRequest(r) {
		w = &statusWriter{w, status}
	}
	_ = s.errs.Write(w, r, ce) // if the peer is gone there is nobody to tell
}

// grpcRequest reports whether the status of the reply has to be 200, whatever happened.
func grpcRequest(r *http.Request) bool {
	ct := r.Header.Get("Content-Type")
	return len(ct) >= len("application/grpc") && ct[:len("application/grpc")] == "application/grpc"
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(int) { w.ResponseWriter.WriteHeader(w.status) }

// panicked logs a panic with its stack and returns it as an error that no sentinel names.
func (s *Server) panicked(ctx context.Context, p any) error {
	err := fmt.Errorf("panic: %v", p)
	s.log.LogAttrs(ctx, slog.LevelError, "panic", slog.String("err", err.Error()), slog.String("stack", string(debug.Stack())))
	return err
}

// checker answers health checks as /readyz does.
type checker struct {
	s     *Server
	names []string
}

// Check implements grpchealth.Checker.
func (c *checker) Check(ctx context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	known := req.Service == ""
	for _, name := range c.names {
		known = known || name == req.Service
	}
	switch {
	case !known:
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("service %q is not served here", clip(req.Service)))
	case c.s.draining.Load(), c.s.ready.state(ctx) != nil:
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	default:
		return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
	}
}
