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
	readers sync.WaitGroup

	mu     sync.Mutex // guards models and the users of each; never held while an engine works
	models map[string]*held
}

func newService(engine Engine, missing error) *service {
	return &service{engine: engine, missing: missing, models: map[string]*held{}}
}

// wait returns when nothing of a call is left. It is called after the last call has ended.
func (s *service) wait() { s.readers.Wait() }

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
	h, err := s.hold(req.GetId(), true)
	if err != nil {
		return nil, gpuv1.StatusOf(err)
	}
	defer s.release(req.GetId(), h)
	res := &gpuv1.Residency{}
	err = h.turns.do(ctx, "", func() error {
		if h.model != nil {
			res.MemBytes, res.Slots = h.bytes, int32(h.model.Slots())
			return nil
		}
		opt := llama.Options{Context: int(req.GetContext()), Threads: int(req.GetThreads()), Slots: int(req.GetSlots()), CacheBytes: req.GetCacheBytes()}
		model, r, err := s.engine.Load(req.GetPath(), opt)
		if err != nil {
			return err
		}
		h.model = model
		res = h.residency(r)
		return nil
	})
	if err != nil {
		return nil, gpuv1.StatusOf(err)
	}
	return &gpuv1.LoadResponse{Residency: res}, nil
}

func (s *service) Generate(stream gpuv1.Worker_GenerateServer) error {
	req, err := stream.Recv()
	if err != nil {
		return err // it never began; the status is gRPC's own
	}
	return gpuv1.StatusOf(s.use(req.GetId(), func(h *held) error {
		credit := newCredit()
		credit.grant(req.GetCredit())
		// Its Recv ends when this call has, so nothing in here can wait for it: wait does.
		s.readers.Go(func() { credit.read(stream) })
		return h.generate(stream.Context(), req, credit, stream.Send)
	}))
}

func (s *service) Forget(ctx context.Context, req *gpuv1.ForgetRequest) (*gpuv1.ForgetResponse, error) {
	err := s.use(req.GetId(), func(h *held) error { return h.forget(ctx, int(req.GetSlot()), req.GetSession()) })
	return &gpuv1.ForgetResponse{}, gpuv1.StatusOf(err)
}

func (s *service) Park(ctx context.Context, req *gpuv1.ParkRequest) (*gpuv1.ParkResponse, error) {
	res := &gpuv1.ParkResponse{}
	err := s.use(req.GetId(), func(h *held) error {
		return h.alone(ctx, func() error {
			if h.model == nil {
				return unknown(req.GetId())
			}
			res.Residency = h.residency(h.model.Park())
			return nil
		})
	})
	return res, gpuv1.StatusOf(err)
}

func (s *service) Wake(ctx context.Context, req *gpuv1.WakeRequest) (*gpuv1.WakeResponse, error) {
	res := &gpuv1.WakeResponse{}
	err := s.use(req.GetId(), func(h *held) error {
		return h.turns.do(ctx, "", func() error {
			if h.model == nil {
				return unknown(req.GetId())
			}
			r, err := h.model.Wake()
			if err != nil {
				return err
			}
			res.Residency = h.residency(r)
			return nil
		})
	})
	return res, gpuv1.StatusOf(err)
}

// Unload of an unknown model is no error.
func (s *service) Unload(ctx context.Context, req *gpuv1.UnloadRequest) (*gpuv1.UnloadResponse, error) {
	h, err := s.hold(req.GetId(), false)
	if err != nil {
		return &gpuv1.UnloadResponse{}, nil
	}
	defer s.release(req.GetId(), h)
	err = h.alone(ctx, func() error {
		if h.model != nil {
			h.model.Close()
			h.model = nil
		}
		return nil
	})
	return &gpuv1.UnloadResponse{}, gpuv1.StatusOf(err)
}

// use lends a model to f.
func (s *service) use(id string, f func(*held) error) error {
	h, err := s.hold(id, false)
	if err != nil {
		return err
	}
	defer s.release(id, h)
	return f(h)
}

// hold finds a model, or makes a place for it. The caller releases it.
func (s *service) hold(id string, create bool) (*held, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.models[id]
	switch {
	case h != nil:
	case !create:
		return nil, unknown(id)
	case id == "":
		return nil, fmt.Errorf("%w: the model has no id", functions.ErrInvalid)
	case len(s.models) >= maxModels:
		return nil, fmt.Errorf("%w: the worker holds %d models already; unload one", functions.ErrMemoryLimit, maxModels)
	default:
		h = newHeld()
		s.models[id] = h
	}
	h.users++
	return h, nil
}

// release drops a place that nobody uses and that has no model.
func (s *service) release(id string, h *held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.users--; h.users == 0 && h.model == nil {
		delete(s.models, id)
	}
}

func unknown(id string) error {
	return fmt.Errorf("%w: model %q is not loaded in this worker", functions.ErrNotFound, id[:min(len(id), 80)])
}
