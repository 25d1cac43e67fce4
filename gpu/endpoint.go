package gpu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
	"github.com/catenary-run/catenary/gpu/openai"
)

// Endpoint is what this node knows of a server that speaks OpenAI's API, beside its URL. It is the node's own affair: no
// deploy brings it.
type Endpoint struct {
	// URL is what models name.
	URL string
	// Key tells where the server's key is.
	Key openai.Key
	// Slots is how many calls may use one model of the server at the same time. Zero takes Config.Slots.
	Slots int

	// Command starts the server, which has to listen where the URL says. Empty: somebody else starts it.
	Command []string
	// Env names the variables of our environment that the command gets, beside those that every program needs.
	Env []string
	// StartLimit is how long the server may take until it is ready. Zero takes DefaultStartLimit.
	StartLimit time.Duration
}

// Validate returns all faults joined.
func (e *Endpoint) Validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("%w: endpoint %s: "+format, append([]any{functions.ErrInvalid, e.URL}, args...)...))
		}
	}
	if err := functions.CheckURL(e.URL); err != nil {
		return err // it may hold what must not be repeated
	}
	err := e.Key.Validate()
	fault(err != nil, "%w", err)
	fault(e.Slots < 0 || e.Slots > maxSlots, "slots is not within 0 and %d", maxSlots)
	fault(e.StartLimit < 0, "the limit of its start is negative")
	fault(len(e.Command) > 0 && e.Command[0] == "", "its command is empty")
	fault(len(e.Command) == 0 && (len(e.Env) > 0 || e.StartLimit > 0), "it has no command that could be started")
	return errors.Join(faults...)
}

// endpoint returns what is known of the server at url.
func (c *Config) endpoint(url string) Endpoint {
	for _, e := range c.Endpoints {
		if e.URL == url {
			return e
		}
	}
	return Endpoint{URL: url}
}

// server is the client's side of a worker that speaks OpenAI's API: it takes the calls of gpuv1. What a call of gpuv1 does
// in the worker, such as to clear a slot, is the server's own affair.
type server struct {
	client  *openai.Client
	url     string
	process *serving      // nil if somebody else started it; final once the server is a worker
	naps    bool          // it has a sleep mode; final, too
	turn    chan struct{} // holds one token: who took it may put the server to sleep, or wake it
	gone    chan struct{} // closed when there is no server any more

	// Only in a turn.
	awake  map[string]bool // ids of the models that may be asked
	parked bool

	mu     sync.Mutex        // guards the fields below
	models map[string]served // by id
	reason error             // why the server is gone; nil if nobody needed it any more
	over   bool              // gone is closed, or will be
}

// served is a model as the server knows it.
type served struct {
	name  string
	slots int32
}

func (r *Runtime) newServer(e Endpoint) *server {
	s := &server{
		client: openai.New(openai.Config{URL: e.URL, Key: e.Key, Dial: r.cfg.Dial}),
		url:    e.URL,
		turn:   make(chan struct{}, 1),
		gone:   make(chan struct{}),
		awake:  map[string]bool{},
		models: map[string]served{},
	}
	s.turn <- struct{}{}
	return s
}

// connect returns a worker that is the server of e, once that answers.
func (r *Runtime) connect(ctx context.Context, e Endpoint) (*worker, error) {
	s := r.newServer(e)
	if err := s.client.Check(ctx); err != nil {
		s.client.Close()
		return nil, err
	}
	return s.worker(), nil
}

func (s *server) worker() *worker {
	return &worker{
		client: s,
		device: s.url,
		done:   s.gone,
		exit:   s.exit,
		killed: func() bool { return false },
		kill:   s.kill,
		stop:   s.stop,
	}
}

// lose notes why there is no server any more. A process of ours is ended; answers of another may go on.
func (s *server) lose(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.over, s.reason = true, reason
	if s.process != nil {
		s.process.signal(syscall.SIGKILL)
		return
	}
	close(s.gone)
}

func (s *server) kill() {
	s.lose(errStopping)
	s.client.Close()
}

// stop ends answers and process, which nobody needs any more, and returns when all is gone.
func (s *server) stop() {
	s.client.Close()
	if s.process == nil {
		s.lose(nil)
		return
	}
	s.mu.Lock()
	s.over = true // how it ends is not told
	s.mu.Unlock()
	s.process.stop()
	<-s.gone
}

// exit says how the server ended, or nothing if nobody needed it any more. It is called once gone is closed.
func (s *server) exit() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason == nil {
		return ""
	}
	return functions.OneLine(s.reason)
}

// explain returns err of a call as it crosses gpuv1. A server that answers nobody is given up.
func (s *server) explain(ctx context.Context, err error) error {
	if errors.Is(err, openai.ErrUnreachable) {
		if again := s.client.Check(ctx); errors.Is(again, openai.ErrUnreachable) {
			s.lose(again)
		}
	}
	broken := errors.Is(err, openai.ErrUnreachable) || errors.Is(err, openai.ErrCut) || s.isOver()
	if s.process != nil && broken && s.ends() {
		err = fmt.Errorf("%w: %s ended during the call (%s); it is started again for the next one", functions.ErrUnavailable, s.url, s.exit())
	}
	return gpuv1.StatusOf(err)
}

// ends reports whether the process ends right now: a connection breaks a moment before.
func (s *server) ends() bool {
	select {
	case <-s.gone:
		return true
	case <-time.After(crashDelay):
		return false
	}
}

func (s *server) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// inTurn runs f when nobody else puts the server to sleep or wakes it.
func (s *server) inTurn(ctx context.Context, f func() error) error {
	select {
	case <-s.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { s.turn <- struct{}{} }()
	return f()
}

// raise makes the server ready to be asked for m.
func (s *server) raise(ctx context.Context, id string, m served) error {
	return s.inTurn(ctx, func() error {
		if s.isOver() {
			return fmt.Errorf("%w: %s was stopped", functions.ErrUnavailable, s.url)
		}
		if s.parked {
			if err := s.unpark(ctx); err != nil {
				s.lose(err) // a new start is what is left
				return err
			}
			s.parked = false
		}
		if err := s.client.Check(ctx); err != nil {
			return err
		}
		s.awake[id] = true
		s.mu.Lock()
		defer s.mu.Unlock()
		s.models[id] = m
		return nil
	})
}

// lower lets the server rest once none of its models is used. It is told so only if it is a process of ours: another may
// have other callers.
func (s *server) lower(ctx context.Context, id string) error {
	return s.inTurn(ctx, func() error {
		delete(s.awake, id)
		if s.process == nil || len(s.awake) > 0 || s.parked {
			return nil
		}
		if err := s.park(ctx); err != nil {
			s.lose(err) // whether it sleeps is not known, and nobody uses it
			return err
		}
		s.parked = true
		return nil
	})
}

// Describe implements [gpuv1.WorkerClient].
func (s *server) Describe(context.Context, *gpuv1.DescribeRequest, ...grpc.CallOption) (*gpuv1.DescribeResponse, error) {
	return &gpuv1.DescribeResponse{Engine: functions.EngineOpenAI}, nil
}

// Load implements [gpuv1.WorkerClient]. Whether the server knows the model shows when that is asked.
func (s *server) Load(ctx context.Context, req *gpuv1.LoadRequest, _ ...grpc.CallOption) (*gpuv1.LoadResponse, error) {
	if err := s.raise(ctx, req.GetId(), served{req.GetPath(), req.GetSlots()}); err != nil {
		return nil, s.explain(ctx, err)
	}
	return &gpuv1.LoadResponse{Residency: &gpuv1.Residency{Slots: req.GetSlots()}}, nil
}

// Wake implements [gpuv1.WorkerClient].
func (s *server) Wake(ctx context.Context, req *gpuv1.WakeRequest, _ ...grpc.CallOption) (*gpuv1.WakeResponse, error) {
	m, err := s.model(req.GetId())
	if err == nil {
		err = s.raise(ctx, req.GetId(), m)
	}
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	return &gpuv1.WakeResponse{Residency: &gpuv1.Residency{Slots: m.slots}}, nil
}

// Park implements [gpuv1.WorkerClient].
func (s *server) Park(ctx context.Context, req *gpuv1.ParkRequest, _ ...grpc.CallOption) (*gpuv1.ParkResponse, error) {
	if err := s.lower(ctx, req.GetId()); err != nil {
		return nil, s.explain(ctx, err)
	}
	return &gpuv1.ParkResponse{}, nil
}

// Unload implements [gpuv1.WorkerClient]. With its last model a process of ours ends.
func (s *server) Unload(ctx context.Context, req *gpuv1.UnloadRequest, _ ...grpc.CallOption) (*gpuv1.UnloadResponse, error) {
	err := s.inTurn(ctx, func() error {
		s.mu.Lock()
		delete(s.models, req.GetId())
		last := len(s.models) == 0
		s.mu.Unlock()
		if last && s.process != nil {
			s.stop()
		}
		return nil
	})
	return &gpuv1.UnloadResponse{}, gpuv1.StatusOf(err)
}

// Forget implements [gpuv1.WorkerClient]. What a server keeps of a prompt is its own affair.
func (s *server) Forget(context.Context, *gpuv1.ForgetRequest, ...grpc.CallOption) (*gpuv1.ForgetResponse, error) {
	return &gpuv1.ForgetResponse{}, nil
}

func (s *server) model(id string) (served, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.models[id]
	if !ok {
		return served{}, fmt.Errorf("%w: model %q is not loaded at this endpoint", functions.ErrNotFound, id)
	}
	return m, nil
}

// Generate implements [gpuv1.WorkerClient].
func (s *server) Generate(ctx context.Context, _ ...grpc.CallOption) (gpuv1.Worker_GenerateClient, error) {
	return &reply{ctx: ctx, server: s}, nil
}

// reply is an answer of a server as a stream of gpuv1.
type reply struct {
	grpc.ClientStream // nil: Send and Recv are all that the runtime calls

	ctx    context.Context
	server *server
	req    *gpuv1.GenerateRequest // final once it is sent
	answer *openai.Answer         // nil until the first Recv
}

// Send takes the request. Credit it drops: the server feels by TCP how slowly it is read.
func (r *reply) Send(req *gpuv1.GenerateRequest) error {
	if r.req == nil {
		r.req = req
	}
	return nil
}

// Recv returns the next token. With an error the answer has ended.
func (r *reply) Recv() (*gpuv1.GenerateResponse, error) {
	began := time.Now()
	piece, err := r.next()
	if err == nil {
		return &gpuv1.GenerateResponse{
			Text: piece.Text, Finish: piece.Finish, PromptTokens: count(piece.PromptTokens), ReusedTokens: count(piece.CachedTokens),
			DeviceNanos: int64(time.Since(began)), // how long the server worked is not known, but how long it was waited for
		}, nil
	}
	if r.answer != nil {
		r.answer.Close()
	}
	if err == io.EOF {
		return nil, io.EOF
	}
	return nil, r.server.explain(r.ctx, err)
}

func (r *reply) next() (openai.Piece, error) {
	if r.answer == nil {
		m, err := r.server.model(r.req.GetId())
		if err != nil {
			return openai.Piece{}, err
		}
		if r.answer, err = r.server.client.Generate(r.ctx, m.name, r.req.Generation()); err != nil {
			return openai.Piece{}, err
		}
	}
	return r.answer.Recv()
}

// count returns a server's count as one that can be added up.
func count(n int) int32 { return int32(min(max(n, 0), math.MaxInt32)) }
