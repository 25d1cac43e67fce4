package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/invokertest"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// served is a gateway in Serve, on a port of its own.
type served struct {
	*world
	stop context.CancelFunc
	done chan error
}

func serve(t *testing.T, change func(*Config), more ...invokertest.Function) *served {
	t.Helper()
	w := newWorld(t, change, more...)
	s, _ := newServer(t, w.mem, w.node, change) // a second gateway, on the same catalogue
	w.s = s
	ln, err := Listen("127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	sv := &served{world: w, stop: stop, done: make(chan error, 1)}
	w.url = "http://" + ln.Addr().String()
	w.rpc = catenaryv1.NewChainServiceClient(w.http, w.url)
	go func() { sv.done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err, open := <-sv.done; open && err != nil {
			t.Error(err)
		}
	})
	return sv
}

// ended waits for Serve.
func (sv *served) ended(t *testing.T) {
	t.Helper()
	if err := <-sv.done; err != nil {
		t.Error(err)
	}
	close(sv.done)
}

func TestServe_BothVersionsOfHTTP(t *testing.T) {
	sv := serve(t, nil)
	for proto, client := range map[string]*http.Client{"HTTP/1.1": http.DefaultClient, "HTTP/2.0": sv.http} {
		resp, err := client.Post(sv.url+"/chains/shout", "text/plain", strings.NewReader("hi"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.Proto != proto || string(body) != "HI" || err != nil {
			t.Errorf("%s: got %s %q, %v", proto, resp.Proto, body, err)
		}
	}
}

func TestServe_DrainLetsRunsEnd(t *testing.T) {
	sv := serve(t, func(c *Config) { c.Drain = time.Hour }) // it ends when the run has, not before
	type answer struct {
		body string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		resp, err := http.Post(sv.url+"/chains/slow", "text/plain", strings.NewReader("x"))
		if err != nil {
			got <- answer{err: err}
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		got <- answer{string(b), err}
	}()
	<-sv.gate.begun
	sv.stop()
	for !sv.s.draining.Load() {
		time.Sleep(time.Millisecond)
	}
	// Phase one: the port is open, also to those who had no connection, and says that nothing new is taken.
	for proto, client := range map[string]*http.Client{"HTTP/1.1": {Transport: &http.Transport{}}, "HTTP/2": h2c()} {
		for _, ask := range []struct{ method, path, want string }{{"GET", "/readyz", "draining"}, {"POST", "/chains/shout", "shutting down"}} {
			resp, err := client.Do(must(http.NewRequestWithContext(t.Context(), ask.method, sv.url+ask.path, strings.NewReader("x"))))
			if err != nil {
				t.Fatalf("%s %s: %v", proto, ask.path, err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), ask.want) || err != nil {
				t.Errorf("%s %s: status %d, %s, %v", proto, ask.path, resp.StatusCode, body, err)
			}
			if proto == "HTTP/1.1" && !resp.Close {
				t.Errorf("%s: the connection may be used again, and so never finds another server", ask.path)
			}
		}
		if r, err := client.Get(sv.url + "/healthz"); err != nil || r.StatusCode != http.StatusOK {
			t.Errorf("%s: the process does not live: %v, %v", proto, r, err)
		}
		client.CloseIdleConnections()
	}
	select {
	case <-sv.done:
		t.Fatal("Serve has returned while a run goes on")
	default:
	}
	// Phase two: what goes on ends well.
	close(sv.gate.open)
	if a := <-got; a.err != nil || a.body != "done" {
		t.Errorf("got %q, %v", a.body, a.err)
	}
	sv.ended(t)
	if _, err := http.Get(sv.url + "/healthz"); err == nil {
		t.Error("the port still answers")
	}
}

// must returns v, which the test has got right.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A server with nothing to do ends at once, whatever the drain's limit and the connections that are kept.
func TestServe_DrainWithNothingGoingOn(t *testing.T) {
	sv := serve(t, func(c *Config) { c.Drain = time.Hour })
	for _, client := range []*http.Client{{Transport: &http.Transport{}}, sv.http} {
		resp, err := client.Post(sv.url+"/chains/shout", "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(resp.Body)
		_ = resp.Body.Close() // the connection is kept
	}
	sv.stop()
	sv.ended(t)
}

// A node can't tell a step of a run that goes on elsewhere from any other call: it serves them while its port is open.
func TestServe_DrainServesTheCallsOfANode(t *testing.T) {
	gates := map[string]*gate{"/node/1": newGate(), "/node/2": newGate()}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g := gates[r.URL.Path]
		g.begun <- struct{}{}
		<-g.open
		say(w, http.StatusOK, "done")
	})
	cfg := DefaultConfig()
	cfg.NodeOnly, cfg.Drain = true, time.Hour
	s, err := New(cfg, Deps{Log: slog.New(slog.DiscardHandler), Metrics: newRegistry(), Services: []Service{{Name: catenaryv1.NodeServiceName, Path: "/node/", Handler: handler}}})
	if err != nil {
		t.Fatal(err)
	}
	ln := must(Listen("127.0.0.1:0", false))
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	answers := make(chan string, 2)
	call := func(path string) {
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		resp, err := client.Get("http://" + ln.Addr().String() + path)
		if err != nil {
			answers <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		answers <- fmt.Sprint(string(body), err)
	}
	go call("/node/1")
	<-gates["/node/1"].begun
	stop()
	for !s.draining.Load() {
		time.Sleep(time.Millisecond)
	}
	go call("/node/2")
	<-gates["/node/2"].begun
	close(gates["/node/1"].open)
	if got := <-answers; got != "done<nil>" {
		t.Errorf("the first call: %s", got)
	}
	select {
	case <-served:
		t.Error("Serve has returned while a call goes on")
	default:
	}
	close(gates["/node/2"].open)
	if got := <-answers; got != "done<nil>" {
		t.Errorf("the second call: %s", got)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func localRequest(method, path, body string) *http.Request {
	r, _ := http.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "text/plain")
	return r
}

func TestServe_DrainCancelsWhatIsLeft(t *testing.T) {
	for name, client := range map[string]*http.Client{"HTTP/1.1": http.DefaultClient, "HTTP/2": h2c()} {
		t.Run(name, func(t *testing.T) {
			sv := serve(t, func(c *Config) { c.Drain = time.Millisecond })
			defer client.CloseIdleConnections()
			got := make(chan response, 1)
			go func() {
				resp, err := client.Post(sv.url+"/chains/slow", "text/plain", strings.NewReader("x"))
				if err != nil {
					got <- response{err: err}
					return
				}
				defer resp.Body.Close()
				b, err := io.ReadAll(resp.Body)
				got <- response{resp.StatusCode, resp.Header, string(b), err}
			}()
			<-sv.gate.begun
			sv.stop()
			if err := <-sv.gate.ended; !errors.Is(err, functions.ErrUnavailable) {
				t.Errorf("the run ended with %v, want the drain as its cause", err)
			}
			if r := <-got; r.err != nil || r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "shutting down") {
				t.Errorf("status %d, %s, %v", r.status, r.body, r.err)
			}
			sv.ended(t)
		})
	}
}

func TestServe_DrainCutsACallerThatStalls(t *testing.T) {
	sv := serve(t, func(c *Config) { c.Drain = time.Millisecond })
	pr, pw := io.Pipe() // a body that never ends
	defer pw.Close()
	got := make(chan error, 1)
	go func() {
		resp, err := http.Post(sv.url+"/chains/shout", "text/plain", pr)
		if err == nil {
			_ = resp.Body.Close()
		}
		got <- err
	}()
	if _, err := pw.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	sv.stop()
	sv.ended(t)
	_ = pw.Close()
	<-got
}

func TestServe_BrokenListener(t *testing.T) {
	w := newWorld(t, nil)
	s, _ := newServer(t, w.mem, w.node, nil)
	ln, err := Listen("127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := s.Serve(t.Context(), ln); err == nil {
		t.Error("no error")
	}
}

func TestNew_JoinsAllFaults(t *testing.T) {
	_, err := New(Config{}, Deps{})
	for _, want := range []string{"MaxBody", "CallTimeout", "Deps.Log", "Deps.Node", "Deps.Catalogue"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
}

func TestNodeOnly(t *testing.T) {
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { say(w, 200, "node\n") })
	cfg := DefaultConfig()
	cfg.NodeOnly = true
	w := newWorld(t, nil)
	s, err := New(cfg, Deps{Log: w.s.log, Metrics: newRegistry(), Services: []Service{{Name: catenaryv1.NodeServiceName, Path: "/node/", Handler: hello}}})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/node/x": 200, "/healthz": 200, "/chains/shout": 404, "/blobs/x": 404} {
		rec := newRecorder()
		s.Handler().ServeHTTP(rec, localRequest("GET", path, ""))
		if rec.Code != want {
			t.Errorf("%s: status %d, want %d", path, rec.Code, want)
		}
	}
}

// A run that its limit ended leaves the connection fit for the next one.
func TestServe_TimeoutSparesTheConnection(t *testing.T) {
	sv := serve(t, func(c *Config) { c.CallTimeout = 200 * time.Millisecond })
	for name, client := range map[string]*http.Client{"HTTP/1.1": {Transport: new(http.Transport)}, "HTTP/2": sv.http} {
		for _, tc := range []struct {
			chain  string
			header string
			status int
		}{
			{chain: "slow", status: http.StatusGatewayTimeout}, // by the server's limit
			{chain: "shout", status: http.StatusOK},
			{chain: "slow", header: "10", status: http.StatusGatewayTimeout}, // by the caller's
			{chain: "shout", status: http.StatusOK},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, sv.url+"/chains/"+tc.chain, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "text/plain")
			if tc.header != "" {
				req.Header.Set("Connect-Timeout-Ms", tc.header)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != tc.status || err != nil {
				t.Errorf("%s: %s: got %d %s, %v, want %d", name, tc.chain, resp.StatusCode, body, err, tc.status)
			}
		}
		client.CloseIdleConnections()
	}
}
