package gpu

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// fake is a worker without process and engine: a real gRPC server in memory. Its times pass on the test's clock.
type fake struct {
	gpuv1.UnimplementedWorkerServer

	startTime   time.Duration
	loadTime    time.Duration
	tokenTime   time.Duration
	tokens      int   // of each answer
	loadErr     error // if set, loads fail
	startErr    error // if set, starts fail
	crashOnLoad bool
	fromOutside bool // what the worker says of its crash
	unavailable string

	starts, loads, wakes, parks, unloads, generates atomic.Int64
	sent                                            atomic.Int64 // tokens over all answers
	most                                            atomic.Int64 // calls of Generate at the same time
	now                                             atomic.Int64 // of them, now
	stops                                           atomic.Int64 // answers that ended early

	mu   sync.Mutex // guards last
	last *worker
}

func (f *fake) launch(context.Context) (*worker, error) {
	f.starts.Add(1)
	time.Sleep(f.startTime)
	if f.startErr != nil {
		return nil, f.startErr
	}
	lis := bufconn.Listen(64 << 10)
	srv := grpc.NewServer(grpc.WaitForHandlers(true))
	gpuv1.RegisterWorkerServer(srv, f)
	conn, err := newConn(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) })
	if err != nil {
		return nil, err
	}
	w := &worker{
		client:      gpuv1.NewWorkerClient(conn),
		device:      "cpu",
		unavailable: f.unavailable,
		done:        make(chan struct{}),
		exit:        func() string { return "killed" },
		killed:      func() bool { return f.fromOutside },
	}
	killed := make(chan struct{})
	w.kill = sync.OnceFunc(func() { close(killed) })
	w.stop = func() { w.kill(); <-w.done }
	go func() { _ = srv.Serve(lis) }() // it ends with Stop
	go func() {
		defer close(w.done)
		<-killed
		srv.Stop()
		_ = conn.Close()
	}()
	f.mu.Lock()
	f.last = w
	f.mu.Unlock()
	return w, nil
}

// crash ends the last worker as kill -9 would.
func (f *fake) crash() {
	f.mu.Lock()
	w := f.last
	f.mu.Unlock()
	w.kill()
	<-w.done
}

func (f *fake) Load(ctx context.Context, _ *gpuv1.LoadRequest) (*gpuv1.LoadResponse, error) {
	f.loads.Add(1)
	if f.crashOnLoad {
		f.mu.Lock()
		f.last.kill()
		f.mu.Unlock()
		<-ctx.Done()
		return nil, gpuv1.StatusOf(context.Cause(ctx))
	}
	if err := sleep(ctx, f.loadTime); err != nil {
		return nil, gpuv1.StatusOf(err)
	}
	return &gpuv1.LoadResponse{Residency: &gpuv1.Residency{Bytes: 100, MemBytes: 100}}, gpuv1.StatusOf(f.loadErr)
}

func (f *fake) Wake(ctx context.Context, _ *gpuv1.WakeRequest) (*gpuv1.WakeResponse, error) {
	f.wakes.Add(1)
	err := sleep(ctx, f.loadTime)
	return &gpuv1.WakeResponse{Residency: &gpuv1.Residency{Bytes: 100, MemBytes: 100}}, gpuv1.StatusOf(err)
}

func (f *fake) Park(context.Context, *gpuv1.ParkRequest) (*gpuv1.ParkResponse, error) {
	f.parks.Add(1)
	return &gpuv1.ParkResponse{}, nil
}

func (f *fake) Unload(context.Context, *gpuv1.UnloadRequest) (*gpuv1.UnloadResponse, error) {
	f.unloads.Add(1)
	return &gpuv1.UnloadResponse{}, nil
}

func (f *fake) Generate(_ *gpuv1.GenerateRequest, stream gpuv1.Worker_GenerateServer) error {
	f.generates.Add(1)
	if n := f.now.Add(1); n > f.most.Load() {
		f.most.Store(n) // callers of one model come one by one, so this is not racy where it matters
	}
	defer f.now.Add(-1)
	for i := range f.tokens {
		res := &gpuv1.GenerateResponse{Text: "word "}
		if i == f.tokens-1 {
			res.Finish = "stop"
		}
		err := sleep(stream.Context(), f.tokenTime)
		if err == nil {
			err = stream.Send(res)
		}
		if err != nil {
			f.stops.Add(1)
			return gpuv1.StatusOf(err)
		}
		f.sent.Add(1)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// startFake runs a Runtime whose worker is f. The caller stops it.
func startFake(t testing.TB, f *fake, models Source, change func(*Config)) (r *Runtime, stop func()) {
	cfg := Config{Command: noCommand, Dir: "unused", Models: models}
	if change != nil {
		change(&cfg)
	}
	r = New(cfg)
	r.launch = f.launch
	return r, run(t, r)
}

var errNope = errors.New("nope")

func words(n int) string { return strings.Repeat("word ", n) }
