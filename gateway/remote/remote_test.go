package remote_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/invokertest"
	"github.com/catenary-run/catenary/gateway"
	"github.com/catenary-run/catenary/gateway/remote"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/google/go-cmp/cmp"
)

// node is a gateway.Node around an Invoker; what is not overridden is empty.
type node struct {
	functions.Invoker
	prepare func(fns, models []functions.Ref) ([]gateway.Prepared, error)
	pools   gateway.Pools
}

func (n *node) Prepare(_ context.Context, fns, models []functions.Ref) ([]gateway.Prepared, error) {
	return n.prepare(fns, models)
}

func (n *node) Pools(context.Context) (gateway.Pools, error) { return n.pools, nil }

func protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// start serves n on ln and returns its URL.
func start(t *testing.T, n gateway.Node, ln net.Listener) *httptest.Server {
	t.Helper()
	svc := remote.Handler(n)
	mux := http.NewServeMux()
	mux.Handle(svc.Path, svc.Handler)
	srv := httptest.NewUnstartedServer(mux)
	if ln != nil {
		_ = srv.Listener.Close()
		srv.Listener = ln
	}
	srv.Config.Protocols = protocols()
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

func connectTo(t *testing.T, srv *httptest.Server, dial func(context.Context, string, string) (net.Conn, error)) *remote.Node {
	t.Helper()
	transport := &http.Transport{Protocols: protocols(), DialContext: dial}
	t.Cleanup(transport.CloseIdleConnections)
	n, err := remote.New(srv.URL, &http.Client{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestInvoker_Loopback(t *testing.T) {
	invokertest.Run(t, func(t *testing.T, s invokertest.Setup) functions.Invoker {
		return connectTo(t, start(t, &node{Invoker: invokertest.NewLocal(s)}, nil), nil)
	})
}

func TestInvoker_Pipe(t *testing.T) {
	invokertest.Run(t, func(t *testing.T, s invokertest.Setup) functions.Invoker {
		ln := newPipes()
		return connectTo(t, start(t, &node{Invoker: invokertest.NewLocal(s)}, ln), ln.dial)
	})
}

// pipes is a listener whose connections are pipes of no capacity: every byte is written when it is read.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestInvoke_CallCrosses(t *testing.T) {
	want := functions.Call{
		Ref:    functions.Ref{Name: "f", Digest: functions.DigestOf([]byte("f"))},
		Models: []functions.Ref{{Name: "llm", Digest: functions.DigestOf([]byte("llm"))}},
		Chain:  "c", Step: "s", Run: "r", Caller: "ann", Priority: functions.PriorityBatch,
	}
	var got functions.Call
	n := connectTo(t, start(t, &node{Invoker: invokeFunc(func(_ context.Context, call functions.Call, _ functions.Source, _ functions.Sink) (functions.Timing, error) {
		got = call
		return functions.Timing{Wake: 1, Queue: 2, FirstItem: 3, Total: 4, BytesIn: 5, BytesOut: 6}, nil
	})}, nil), nil)
	timing, err := n.Invoke(t.Context(), want, functions.Items(), discard)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("got (-) want (+):\n%s", diff)
	}
	if want := (functions.Timing{Wake: 1, Queue: 2, FirstItem: 3, Total: 4, BytesIn: 5, BytesOut: 6}); timing != want {
		t.Errorf("timing %+v, want %+v", timing, want)
	}
}

type invokeFunc func(context.Context, functions.Call, functions.Source, functions.Sink) (functions.Timing, error)

func (f invokeFunc) Invoke(ctx context.Context, c functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
	return f(ctx, c, in, out)
}

func (f invokeFunc) Wake(context.Context, []functions.Ref, []functions.Ref) error { return nil }

var discard = functions.SinkFunc(func(context.Context, functions.Item) error { return nil })

func TestInvoke_LargeItem(t *testing.T) {
	n := connectTo(t, start(t, &node{Invoker: invokeFunc(func(ctx context.Context, _ functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
		it, err := in.Recv(ctx)
		if err != nil {
			return functions.Timing{}, err
		}
		return functions.Timing{}, out.Send(ctx, it)
	})}, nil), nil)
	want := functions.Item{Value: []byte{0}, Blobs: []functions.Attachment{functions.Attach("audio/wav", bytes.Repeat([]byte{7}, 64<<20))}}
	var got functions.Item
	_, err := n.Invoke(t.Context(), functions.Call{Ref: ref}, functions.Items(want), functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		got = it
		return nil
	}))
	if err != nil || len(got.Blobs) != 1 || got.Blobs[0].Blob != want.Blobs[0].Blob || !bytes.Equal(got.Blobs[0].Data, want.Blobs[0].Data) {
		t.Fatalf("error %v, %d blobs", err, len(got.Blobs))
	}
}

// TestInvoke_CauseCrosses: a function on the node learns why its call ends.
func TestInvoke_CauseCrosses(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	n := connectTo(t, start(t, &node{Invoker: invokeFunc(func(ctx context.Context, _ functions.Call, _ functions.Source, out functions.Sink) (functions.Timing, error) {
		err := out.Send(ctx, functions.Item{Value: []byte{0}})
		close(begun)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return functions.Timing{Total: 7}, errors.Join(err, errors.New("whatever it makes of it"))
	})}, nil), nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := &functions.StepError{Chain: "c", Step: "other", Err: fmt.Errorf("%w: it fails", functions.ErrFunction)}
	go func() {
		<-begun
		cancel(why)
	}()
	timing, err := n.Invoke(ctx, functions.Call{Ref: ref}, functions.NewStream(0, 0), discard)
	if err != why || timing.Total != 7 {
		t.Errorf("got %v, %v; want the cause, and what the node measured", timing, err)
	}
	if got := <-ended; !errors.Is(got, functions.ErrFunction) || got.Error() != why.Error() {
		t.Errorf("the function ended with %v, want %v", got, why)
	}
}

// TestInvoke_DeadlineCrosses: as it is, and with the caller's words when it has passed.
func TestInvoke_DeadlineCrosses(t *testing.T) {
	ended := make(chan error, 1)
	n := connectTo(t, start(t, &node{Invoker: invokeFunc(func(ctx context.Context, _ functions.Call, _ functions.Source, _ functions.Sink) (functions.Timing, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("there is no deadline on the node")
		}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return functions.Timing{}, context.Cause(ctx)
	})}, nil), nil)
	for range 5 {
		limit := fmt.Errorf("%w: the caller's limit", context.DeadlineExceeded)
		ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, limit)
		if _, err := n.Invoke(ctx, functions.Call{Ref: ref}, functions.NewStream(0, 0), discard); err != limit {
			t.Errorf("got %v, want the cause", err)
		}
		cancel()
		if got := <-ended; !errors.Is(got, context.DeadlineExceeded) || got.Error() != limit.Error() {
			t.Errorf("the function ended with %v, want %v", got, limit)
		}
	}
}

// TestInvoke_DeafNode: a node that does not end a call is hung up on.
func TestInvoke_DeafNode(t *testing.T) {
	begun, over := make(chan struct{}), make(chan struct{})
	n := connectTo(t, start(t, &node{Invoker: invokeFunc(func(context.Context, functions.Call, functions.Source, functions.Sink) (functions.Timing, error) {
		close(begun)
		<-over
		return functions.Timing{}, nil
	})}, nil), nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	if _, err := n.Invoke(ctx, functions.Call{Ref: ref}, functions.NewStream(0, 0), discard); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(over)
}

// TestInvoke_WaitsCross: the caller's input learns how long a function on the node waits, whether it is read ahead of the
// function there or not, and though it is read ahead of the node here.
func TestInvoke_WaitsCross(t *testing.T) {
	for name, ahead := range map[string]bool{"read ahead": true, "not": false} {
		t.Run(name, func(t *testing.T) {
			work := make(chan struct{})
			n := connectTo(t, start(t, &node{Invoker: invokeFunc(func(ctx context.Context, _ functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
				report := func(functions.Waits) {}
				if ahead {
					report = functions.Ahead(in)
				}
				report(functions.Waits{Now: true})
				it, err := in.Recv(ctx)
				report(functions.Waits{Total: time.Hour})
				<-work
				if err == nil {
					err = out.Send(ctx, it)
				}
				return functions.Timing{}, err
			})}, nil), nil)
			in := &awaited{Stream: functions.NewStream(0, 0)}
			done := make(chan error, 1)
			go func() {
				_, err := n.Invoke(t.Context(), functions.Call{Ref: ref}, in, discard)
				done <- err
			}()
			await := func(what string, is func(functions.Waits) bool) {
				t.Helper()
				testkit.Eventually(t, what, func() bool { return is(in.waits.Waits()) })
			}
			await("the function to wait", func(w functions.Waits) bool { return w.Now })
			if err := in.Send(t.Context(), functions.Item{Value: []byte{0}}); err != nil {
				t.Fatal(err)
			}
			await("the function to be at work", func(w functions.Waits) bool { return !w.Now && (w.Total == time.Hour) == ahead })
			close(work)
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// awaited is an input that keeps what it is told.
type awaited struct {
	*functions.Stream
	waits functions.KnownWaits
}

// Ahead implements functions.Awaited.
func (a *awaited) Ahead() (report func(functions.Waits)) { return a.waits.Report }

var ref = functions.Ref{Name: "f", Digest: functions.DigestOf([]byte("f"))}

func TestInvoke_NodeDies(t *testing.T) {
	begun := make(chan struct{})
	srv := start(t, &node{Invoker: invokeFunc(func(ctx context.Context, _ functions.Call, _ functions.Source, out functions.Sink) (functions.Timing, error) {
		err := out.Send(ctx, functions.Item{Value: []byte{0}})
		close(begun)
		<-ctx.Done()
		return functions.Timing{}, errors.Join(err, context.Cause(ctx))
	})}, nil)
	n := connectTo(t, srv, nil)
	var killer sync.WaitGroup
	killer.Go(func() {
		<-begun
		srv.CloseClientConnections()
	})
	_, err := n.Invoke(t.Context(), functions.Call{Ref: ref}, functions.NewStream(0, 0), discard)
	killer.Wait()
	if !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err) {
		t.Errorf("got %v, want a retryable %v", err, functions.ErrUnavailable)
	}
}

func TestInvoke_NoNode(t *testing.T) {
	srv := start(t, &node{}, nil)
	n := connectTo(t, srv, nil)
	srv.Close()
	if _, err := n.Invoke(t.Context(), functions.Call{Ref: ref}, functions.Items(), discard); !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err) {
		t.Errorf("Invoke: got %v, want a retryable %v", err, functions.ErrUnavailable)
	} else if _, ok := errors.AsType[*connect.Error](err); ok || !strings.Contains(err.Error(), srv.URL) {
		t.Errorf("Invoke: got %v, want our own error that names the node", err)
	}
	if _, err := n.Pools(t.Context()); !errors.Is(err, functions.ErrUnavailable) {
		t.Errorf("Pools: got %v, want %v", err, functions.ErrUnavailable)
	}
}

func TestInvoke_PanicInTheNode(t *testing.T) {
	n := connectTo(t, start(t, &node{Invoker: invokeFunc(func(context.Context, functions.Call, functions.Source, functions.Sink) (functions.Timing, error) {
		panic("broken invariant")
	})}, nil), nil)
	_, err := n.Invoke(t.Context(), functions.Call{Ref: ref}, functions.Items(), discard)
	if functions.CodeOf(err) != functions.CodeInternal || !bytes.Contains([]byte(err.Error()), []byte("broken invariant")) {
		t.Errorf("got %v, want an internal error with the panic", err)
	}
}

func TestPrepareAndPools(t *testing.T) {
	want := []gateway.Prepared{{Ref: ref, Captured: true}, {Ref: functions.Ref{Name: "g", Digest: ref.Digest}, Why: "it opens a socket"}}
	var fail error
	pools := gateway.Pools{
		Functions: []gateway.FunctionPool{{Name: "f", Kind: functions.KindWASM, Digest: ref.Digest, Tier: "hot", Instances: 2, Busy: 1, Queued: 3, MemBytes: 4, Wake: 5e6, Captured: true}},
		Models:    []gateway.ModelPool{{Name: "llm", Device: "cpu", Tier: "unavailable", Leases: 1, Queued: 2, MemBytes: 3, Wake: 4e6, Why: "no library"}},
	}
	n := connectTo(t, start(t, &node{pools: pools, prepare: func(fns, models []functions.Ref) ([]gateway.Prepared, error) {
		if len(fns) != 1 || fns[0] != ref || len(models) != 0 {
			t.Errorf("prepare %v, %v", fns, models)
		}
		if fail != nil {
			return nil, fail
		}
		return want, nil
	}}, nil), nil)
	got, err := n.Prepare(t.Context(), []functions.Ref{ref}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("got (-) want (+):\n%s", diff)
	}
	fail = functions.ErrColdStart
	if _, err := n.Prepare(t.Context(), []functions.Ref{ref}, nil); !errors.Is(err, functions.ErrColdStart) || !functions.Retryable(err) {
		t.Errorf("got %v, want a retryable %v", err, functions.ErrColdStart)
	}
	fail = fmt.Errorf("%w: no manifest record", functions.ErrNotFound)
	if _, err := n.Prepare(t.Context(), []functions.Ref{ref}, nil); !errors.Is(err, functions.ErrNotFound) || functions.Retryable(err) ||
		!strings.Contains(err.Error(), "no manifest record") || !strings.Contains(err.Error(), "the same --store") {
		t.Errorf("a node with a store of its own: got %v, want %v with the remedy", err, functions.ErrNotFound)
	}
	gotPools, err := n.Pools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(gotPools, pools); diff != "" {
		t.Errorf("got (-) want (+):\n%s", diff)
	}
}

func TestWake_NodeWithAStoreOfItsOwn(t *testing.T) {
	n := connectTo(t, start(t, &node{Invoker: sleeper{functions.ErrNotFound}}, nil), nil)
	if err := n.Wake(t.Context(), []functions.Ref{ref}, nil); !errors.Is(err, functions.ErrNotFound) || !strings.Contains(err.Error(), "the same --store") {
		t.Errorf("got %v, want %v with the remedy", err, functions.ErrNotFound)
	}
}

// sleeper is an Invoker whose Wake fails.
type sleeper struct{ err error }

func (s sleeper) Invoke(context.Context, functions.Call, functions.Source, functions.Sink) (functions.Timing, error) {
	return functions.Timing{}, s.err
}

func (s sleeper) Wake(context.Context, []functions.Ref, []functions.Ref) error { return s.err }

func TestPing(t *testing.T) {
	status, says := http.StatusOK, "ready\n"
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(says))
	}))
	srv.Config.Protocols = protocols()
	srv.Start()
	t.Cleanup(srv.Close)
	n := connectTo(t, srv, nil)
	if err := n.Ping(t.Context()); err != nil {
		t.Errorf("a node that is ready: %v", err)
	}
	status, says = http.StatusServiceUnavailable, "draining\n"+strings.Repeat("x", 1<<20)
	if err := n.Ping(t.Context()); !errors.Is(err, functions.ErrUnavailable) || !strings.Contains(err.Error(), "503 Service Unavailable: draining") || len(err.Error()) > 2000 {
		t.Errorf("a node that drains: got %v, want %v with what it says, cut", err, functions.ErrUnavailable)
	}
	srv.Close()
	if err := n.Ping(t.Context()); !errors.Is(err, functions.ErrUnavailable) {
		t.Errorf("no node: got %v, want %v", err, functions.ErrUnavailable)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := n.Ping(ctx); err == nil || err.Error() != "enough" {
		t.Errorf("got %v, want the context's cause", err)
	}
}

func TestNew_RefusesWhatIsNoURL(t *testing.T) {
	for _, bad := range []string{"", "localhost:80", "ftp://x", "http://", "://"} {
		if _, err := remote.New(bad, nil); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("New(%q): got %v, want %v", bad, err, functions.ErrInvalid)
		}
	}
}
