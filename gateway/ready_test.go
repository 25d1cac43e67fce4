package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// probed is something that a server needs and that may be gone.
type probed struct {
	asked atomic.Int32
	gone  atomic.Pointer[error]
}

func (p *probed) set(err error) { p.gone.Store(&err) }

func (p *probed) ping(context.Context) error {
	p.asked.Add(1)
	if err := p.gone.Load(); err != nil {
		return *err
	}
	return nil
}

func readyServer(t *testing.T, checks ...Check) *Server {
	t.Helper()
	cfg := DefaultConfig()
	cfg.NodeOnly = true
	s, err := New(cfg, Deps{Log: slog.New(slog.DiscardHandler), Metrics: newRegistry(), Checks: checks})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readyz(s *Server) (int, string) {
	rec := newRecorder()
	s.Handler().ServeHTTP(rec, localRequest("GET", "/readyz", ""))
	return rec.Code, rec.Body.String()
}

func TestReady_NamesWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store, node probed
		s := readyServer(t, Check{"the store redis://h/0", store.ping}, Check{"the node http://n", node.ping})
		want := func(status int, texts ...string) {
			t.Helper()
			code, body := readyz(s)
			if code != status {
				t.Errorf("status %d, want %d: %s", code, status, body)
			}
			for _, text := range texts {
				if !strings.Contains(body, text) {
					t.Errorf("%q does not say %q", body, text)
				}
			}
		}
		health := func() string {
			rec := newRecorder()
			r := localRequest("POST", "/grpc.health.v1.Health/Check", `{}`)
			r.Header.Set("Content-Type", "application/json")
			s.Handler().ServeHTTP(rec, r)
			return rec.Body.String()
		}
		want(http.StatusOK, "ready\n")
		node.set(fmt.Errorf("%w: connection refused", functions.ErrUnavailable))
		want(http.StatusOK) // the answer still stands
		time.Sleep(probeAge)
		want(http.StatusServiceUnavailable, "not ready: the node http://n is not reachable: temporarily gone: connection refused\n")
		if got := health(); !strings.Contains(got, "NOT_SERVING") {
			t.Errorf("grpc.health.v1 says %s", got)
		}
		store.set(errors.New("no route"))
		time.Sleep(probeAge)
		want(http.StatusServiceUnavailable, "the store redis://h/0 is not reachable: no route", "the node http://n is not reachable")
		store.set(nil)
		node.set(nil)
		time.Sleep(probeAge)
		want(http.StatusOK, "ready\n")
	})
}

// Many who ask make one probe in probeAge, and those who ask while it goes on wait for it.
func TestReady_AsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		answer := make(chan error)
		s := readyServer(t, Check{"the store", func(ctx context.Context) error {
			asked.Add(1)
			return <-answer
		}})
		var probes sync.WaitGroup
		for range 100 {
			probes.Go(func() {
				if code, body := readyz(s); code != http.StatusServiceUnavailable {
					t.Errorf("status %d: %s", code, body)
				}
			})
		}
		gone, cancel := context.WithCancelCause(t.Context())
		probes.Go(func() {
			synctest.Wait()
			cancel(errors.New("the prober is gone"))
			if err := s.ready.state(gone); err == nil || !strings.Contains(err.Error(), "prober is gone") {
				t.Errorf("a prober that has gone gets %v", err)
			}
			answer <- errors.New("no")
		})
		probes.Wait()
		if code, _ := readyz(s); code != http.StatusServiceUnavailable || asked.Load() != 1 {
			t.Errorf("status %d after %d probes, want 503 after one", code, asked.Load())
		}
	})
}

// A prober that goes away does not spoil the answer of the others, and what does not answer is not waited for.
func TestReady_HasALimitOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := readyServer(t, Check{"the store", func(ctx context.Context) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}})
		first, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		if err := s.ready.state(first); err == nil || !strings.Contains(err.Error(), "the store is not reachable: temporarily gone: no answer within 800ms") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took != probeLimit { // the bubble's clock
			t.Errorf("it took %v, want %v", took, probeLimit)
		}
	})
}

func TestHealthDoors_OtherMethods(t *testing.T) {
	s := readyServer(t)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405, "DELETE": 405} {
			rec := newRecorder()
			s.Handler().ServeHTTP(rec, localRequest(method, path, ""))
			if rec.Code != want {
				t.Errorf("%s %s: status %d, want %d", method, path, rec.Code, want)
			}
			if allow := rec.Header().Get("Allow"); want == 405 && allow != "GET, HEAD" {
				t.Errorf("%s %s: Allow is %q", method, path, allow)
			}
		}
	}
}
