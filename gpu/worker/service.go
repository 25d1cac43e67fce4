package worker

import (
	"context"
	"fmt"
	"sync"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
	"github.com/catenary-run/catenary/gpu/llama"
)

// maxModels bounds how many models one worker knows.
const maxModels = 256

// service answers gpuv1.Worker.
type service struct {
	gpuv1.UnimplementedWorkerServer

	engine  Engine // nil if there is none
	missing error  // why, then

	mu     sync.Mutex // guards models; never held while an engine works
	models map[string]*slot
}

// slot is one model and the right to use it.
type slot struct {
	turn  chan struct{} // holds one token: who took it may use the model
	model Model         // nil until loaded, and after Unload
	held  int64         // bytes after the last transition
}

func newService(engine Engine, missing error) *service {
	return &service{engine: engine, missing: missing, models: map[string]*slot{}}
}

func (s *service) Describe(context.Context, *gpuv1.DescribeRequest) (*gpuv1.DescribeResponse, error) {
	res := &gpuv1.DescribeResponse{Device: "cpu", Engine: "llama"}
	if s.engine == nil {
		res.Unavailable = functions.OneLine(s.missing)
		return res, nil
	}
	res.Version = s.engine.Version()
	return res, nil
}

// Load does nothing to a model that is loaded.
func (s *service) Load(ctx context.Context, req *gpuv1.LoadRequest) (*gpuv1.LoadResponse, error) {
	if s.engine == nil {
		return nil, gpuv1.StatusOf(s.missing)
	}
	sl, err := s.slot(req.GetId(), true)
	if err != nil {
		return nil, gpuv1.StatusOf(err)
	}
	res := &gpuv1.Residency{}
	err = sl.use(ctx, func() error {
		if sl.model != nil {
			res.MemBytes = sl.held
			return nil
		}
		model, r, err := s.engine.Load(req.GetPath(), llama.Options{Context: int(req.GetContext()), Threads: int(req.GetThreads())})
		if err != nil {
			return err
		}
		sl.model, sl.held = model, r.MemBytes
		res = residency(r)
		return nil
	})
	if err != nil {
		s.forget(req.GetId(), sl)
		return nil, gpuv1.StatusOf(err)
	}
	return &gpuv1.LoadResponse{Residency: res}, nil
}

func (s *service) Generate(req *gpuv1.GenerateRequest, stream gpuv1.Worker_GenerateServer) error {
	gen := functions.Generation{
		MaxTokens:   int(req.GetMaxTokens()),
		Temperature: req.GetTemperature(),
		TopP:        req.GetTopP(),
		Seed:        req.GetSeed(),
	}
	for _, m := range req.GetMessages() {
		gen.Messages = append(gen.Messages, functions.Message{Role: m.GetRole(), Content: m.GetContent()})
	}
	return s.with(stream.Context(), req.GetId(), func(sl *slot) error {
		return sl.model.Generate(stream.Context(), gen, func(t functions.Token) error {
			// Send waits while the reader is behind by more than the stream's window: the decode loop with it.
			return stream.Send(&gpuv1.GenerateResponse{Text: t.Text, Finish: t.Finish})
		})
	})
}

func (s *service) Park(ctx context.Context, req *gpuv1.ParkRequest) (*gpuv1.ParkResponse, error) {
	res := &gpuv1.ParkResponse{}
	err := s.with(ctx, req.GetId(), func(sl *slot) error {
		r := sl.model.Park()
		sl.held = r.MemBytes
		res.Residency = residency(r)
		return nil
	})
	return res, err
}

func (s *service) Wake(ctx context.Context, req *gpuv1.WakeRequest) (*gpuv1.WakeResponse, error) {
	res := &gpuv1.WakeResponse{}
	err := s.with(ctx, req.GetId(), func(sl *slot) error {
		r, err := sl.model.Wake()
		if err != nil {
			return err
		}
		sl.held = r.MemBytes
		res.Residency = residency(r)
		return nil
	})
	return res, err
}

// Unload of an unknown model is no error.
func (s *service) Unload(ctx context.Context, req *gpuv1.UnloadRequest) (*gpuv1.UnloadResponse, error) {
	sl, err := s.slot(req.GetId(), false)
	if err != nil {
		return &gpuv1.UnloadResponse{}, nil
	}
	err = sl.use(ctx, func() error {
		if sl.model != nil {
			sl.model.Close()
			sl.model = nil
		}
		return nil
	})
	if err != nil {
		return nil, gpuv1.StatusOf(err)
	}
	s.forget(req.GetId(), sl)
	return &gpuv1.UnloadResponse{}, nil
}

// with lends a loaded model to f. Its error is a gRPC status.
func (s *service) with(ctx context.Context, id string, f func(*slot) error) error {
	sl, err := s.slot(id, false)
	if err != nil {
		return gpuv1.StatusOf(err)
	}
	return gpuv1.StatusOf(sl.use(ctx, func() error {
		if sl.model == nil {
			return unknown(id)
		}
		return f(sl)
	}))
}

// slot finds the slot of a model, or makes one.
func (s *service) slot(id string, create bool) (*slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl, ok := s.models[id]; ok {
		return sl, nil
	}
	if !create {
		return nil, unknown(id)
	}
	if id == "" {
		return nil, fmt.Errorf("%w: the model has no id", functions.ErrInvalid)
	}
	if len(s.models) >= maxModels {
		return nil, fmt.Errorf("%w: the worker holds %d models already; unload one", functions.ErrMemoryLimit, maxModels)
	}
	sl := &slot{turn: make(chan struct{}, 1)}
	sl.turn <- struct{}{}
	s.models[id] = sl
	return sl, nil
}

// forget drops a slot that holds no model. Whoever still waits for it finds it empty.
func (s *service) forget(id string, sl *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-sl.turn:
	default:
		return // another call has it, and will forget it if it comes to that
	}
	if sl.model == nil && s.models[id] == sl {
		delete(s.models, id)
	}
	sl.turn <- struct{}{}
}

// use runs f when it is the call's turn.
func (sl *slot) use(ctx context.Context, f func() error) error {
	select {
	case <-sl.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { sl.turn <- struct{}{} }()
	return f()
}

func unknown(id string) error {
	return fmt.Errorf("%w: model %q is not loaded in this worker", functions.ErrNotFound, id[:min(len(id), 80)])
}

func residency(r llama.Residency) *gpuv1.Residency {
	return &gpuv1.Residency{Bytes: r.Bytes, Nanos: r.Took.Nanoseconds(), MemBytes: r.MemBytes}
}
