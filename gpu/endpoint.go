package gpu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

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
}

// Validate returns all faults joined.
func (e *Endpoint) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{functions.ErrInvalid}, args...)...))
	}
	if err := functions.CheckURL(e.URL); err != nil {
		faults = append(faults, err)
	}
	if err := e.Key.Validate(); err != nil {
		fault("endpoint %s: %w", e.URL, err)
	}
	if e.Slots < 0 || e.Slots > maxSlots {
		fault("endpoint %s: slots is not within 0 and %d", e.URL, maxSlots)
	}
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
	client *openai.Client

	mu     sync.Mutex        // guards the fields below
	models map[string]served // by id
	reason error             // why it is gone
	gone   chan struct{}     // closed then
}

// served is a model as the server knows it.
type served struct {
	name  string
	slots int32
}

// connect returns a worker that is the server of e, once that answers.
func (r *Runtime) connect(ctx context.Context, e Endpoint) (*worker, error) {
	s := &server{
		client: openai.New(openai.Config{URL: e.URL, Key: e.Key, Dial: r.cfg.Dial}),
		models: map[string]served{},
		gone:   make(chan struct{}),
	}
	if err := s.client.Check(ctx); err != nil {
		s.client.Close()
		return nil, err
	}
	kill := func() {
		s.lose(errStopping)
		s.client.Close()
	}
	return &worker{
		client: s,
		device: e.URL,
		done:   s.gone,
		exit:   s.exit,
		killed: func() bool { return false },
		kill:   kill,
		stop:   kill,
	}, nil
}

// lose notes why there is no server any more. Answers under way may go on.
func (s *server) lose(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason == nil {
		s.reason = reason
		close(s.gone)
	}
}

func (s *server) exit() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return functions.OneLine(s.reason)
}

// explain returns err of a call as it crosses gpuv1. A server that answers nobody is given up.
func (s *server) explain(ctx context.Context, err error) error {
	if errors.Is(err, openai.ErrUnreachable) {
		if again := s.client.Check(ctx); errors.Is(again, openai.ErrUnreachable) {
			s.lose(again)
		}
	}
	return gpuv1.StatusOf(err)
}

// Describe implements [gpuv1.WorkerClient].
func (s *server) Describe(context.Context, *gpuv1.DescribeRequest, ...grpc.CallOption) (*gpuv1.DescribeResponse, error) {
	return &gpuv1.DescribeResponse{Engine: functions.EngineOpenAI}, nil
}

// Load implements [gpuv1.WorkerClient]. Whether the server knows the model shows when that is asked.
func (s *server) Load(ctx context.Context, req *gpuv1.LoadRequest, _ ...grpc.CallOption) (*gpuv1.LoadResponse, error) {
	if err := s.client.Check(ctx); err != nil {
		return nil, s.explain(ctx, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.models[req.GetId()] = served{req.GetPath(), req.GetSlots()}
	return &gpuv1.LoadResponse{Residency: &gpuv1.Residency{Slots: req.GetSlots()}}, nil
}

// Wake implements [gpuv1.WorkerClient].
func (s *server) Wake(ctx context.Context, req *gpuv1.WakeRequest, _ ...grpc.CallOption) (*gpuv1.WakeResponse, error) {
	m, err := s.model(req.GetId())
	if err == nil {
		err = s.client.Check(ctx)
	}
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	return &gpuv1.WakeResponse{Residency: &gpuv1.Residency{Slots: m.slots}}, nil
}

// Park implements [gpuv1.WorkerClient]. The server may be somebody else's: it stays as it is.
func (s *server) Park(_ context.Context, _ *gpuv1.ParkRequest, _ ...grpc.CallOption) (*gpuv1.ParkResponse, error) {
	return &gpuv1.ParkResponse{}, nil
}

// Unload implements [gpuv1.WorkerClient].
func (s *server) Unload(_ context.Context, req *gpuv1.UnloadRequest, _ ...grpc.CallOption) (*gpuv1.UnloadResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.models, req.GetId())
	return &gpuv1.UnloadResponse{}, nil
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
	piece, err := r.next()
	if err == nil {
		return &gpuv1.GenerateResponse{
			Text: piece.Text, Finish: piece.Finish, PromptTokens: count(piece.PromptTokens), ReusedTokens: count(piece.CachedTokens),
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
