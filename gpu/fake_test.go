package gpu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
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
	slots       int32 // of each model; 0: 1
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
	forgets                                         atomic.Int64
	timeLeft                                        atomic.Int64 // until the deadline of the last answer when it began

	mu    sync.Mutex // guards the fields below
	last  *worker
	seats map[string]*fakeSeat // by model and slot
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
		f.mu.Lock()
		f.seats = nil // all that it knew is gone
		f.mu.Unlock()
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
	return &gpuv1.LoadResponse{Residency: f.residency()}, gpuv1.StatusOf(f.loadErr)
}

func (f *fake) Wake(ctx context.Context, _ *gpuv1.WakeRequest) (*gpuv1.WakeResponse, error) {
	f.wakes.Add(1)
	err := sleep(ctx, f.loadTime)
	return &gpuv1.WakeResponse{Residency: f.residency()}, gpuv1.StatusOf(err)
}

func (f *fake) residency() *gpuv1.Residency {
	return &gpuv1.Residency{Bytes: 100, MemBytes: 100, Slots: f.slots}
}

func (f *fake) Park(_ context.Context, req *gpuv1.ParkRequest) (*gpuv1.ParkResponse, error) {
	f.parks.Add(1)
	f.dropSeats(req.GetId())
	return &gpuv1.ParkResponse{}, nil
}

func (f *fake) Unload(_ context.Context, req *gpuv1.UnloadRequest) (*gpuv1.UnloadResponse, error) {
	f.unloads.Add(1)
	f.dropSeats(req.GetId())
	return &gpuv1.UnloadResponse{}, nil
}

// fakeSeat is one slot. It holds the session that it is kept for, and that session's last prompt.
type fakeSeat struct {
	free          chan struct{}
	session, past string
}

func (f *fake) seat(id string, slot int32) *fakeSeat {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seats == nil {
		f.seats = map[string]*fakeSeat{}
	}
	key := fmt.Sprint(id, " ", slot)
	s := f.seats[key]
	if s == nil {
		s = &fakeSeat{free: make(chan struct{}, 1)}
		s.free <- struct{}{}
		f.seats[key] = s
	}
	return s
}

// dropSeats forgets what a model's slots hold, with panic if one is in use.
func (f *fake) dropSeats(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, s := range f.seats {
		if !strings.HasPrefix(key, id+" ") {
			continue
		}
		select {
		case <-s.free:
		default:
			panic("a model in use was put away")
		}
		delete(f.seats, key)
	}
}

// kept returns for whom the slots are kept.
func (f *fake) kept() (sessions []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.seats {
		select {
		case <-s.free:
			if s.session != "" {
				sessions = append(sessions, s.session)
			}
			s.free <- struct{}{}
		default:
			sessions = append(sessions, "in use")
		}
	}
	slices.Sort(sessions)
	return sessions
}

func (f *fake) Forget(ctx context.Context, req *gpuv1.ForgetRequest) (*gpuv1.ForgetResponse, error) {
	f.forgets.Add(1)
	s := f.seat(req.GetId(), req.GetSlot())
	select {
	case <-s.free:
	case <-ctx.Done():
		return nil, gpuv1.StatusOf(context.Cause(ctx))
	}
	if s.session == req.GetSession() {
		s.session, s.past = "", ""
	}
	s.free <- struct{}{}
	return &gpuv1.ForgetResponse{}, nil
}

// Generate reuses the whole of a session's last prompt if the new one begins with it. A word of a prompt is a token.
func (f *fake) Generate(stream gpuv1.Worker_GenerateServer) error {
	req, err := stream.Recv()
	if err != nil {
		return err
	}
	f.generates.Add(1)
	ctx := stream.Context()
	if deadline, ok := ctx.Deadline(); ok {
		f.timeLeft.Store(int64(time.Until(deadline)))
	}
	s := f.seat(req.GetId(), req.GetSlot())
	select {
	case <-s.free:
	case <-ctx.Done():
		return gpuv1.StatusOf(context.Cause(ctx))
	}
	defer func() { s.free <- struct{}{} }()
	if n := f.now.Add(1); n > f.most.Load() {
		f.most.Store(n) // only a hint where answers begin side by side
	}
	defer f.now.Add(-1)

	prompt := ""
	for _, m := range req.GetMessages() {
		prompt += m.GetContent() + " "
	}
	first := &gpuv1.GenerateResponse{PromptTokens: int32(len(strings.Fields(prompt)))}
	if s.session == req.GetSession() && strings.HasPrefix(prompt, s.past) {
		first.ReusedTokens = min(int32(len(strings.Fields(s.past))), first.PromptTokens-1)
	}
	s.session, s.past = req.GetSession(), prompt
	if s.session == "" {
		s.past = ""
	}
	credits := make(chan uint32, 16)
	go func() { // ends with the call
		for {
			req, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case credits <- req.GetCredit():
			case <-ctx.Done():
				return
			}
		}
	}()
	credit := req.GetCredit()
	tokens := f.tokens
	if most := int(req.GetMaxTokens()); most > 0 {
		tokens = min(tokens, most)
	}
	for i := range tokens {
		for credit == 0 {
			select {
			case more := <-credits:
				credit += more
			case <-ctx.Done():
				f.stops.Add(1)
				return gpuv1.StatusOf(context.Cause(ctx))
			}
		}
		credit--
		res := first
		first = &gpuv1.GenerateResponse{}
		res.Text = "word "
		if i == tokens-1 {
			res.Finish = "stop"
		}
		res.DeviceNanos = int64(f.tokenTime)
		err := sleep(ctx, f.tokenTime)
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
	r.local.launch = f.launch
	return r, run(t, r)
}

var errNope = errors.New("nope")

func words(n int) string { return strings.Repeat("word ", n) }
