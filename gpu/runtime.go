package gpu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// Runtime lends models to callers. Its methods may be called from many goroutines.
type Runtime struct {
	cfg    Config
	policy policy
	// launch starts a worker and returns it once it answers.
	launch  func(ctx context.Context) (*worker, error)
	changed chan struct{}  // holds one: something that decide looks at has changed
	done    chan struct{}  // closed when Run ends
	calls   sync.WaitGroup // the goroutines of answers; added to under mu, while not closed

	mu      sync.Mutex // guards the fields below, and all models
	running bool       // Run was called
	closed  bool       // Run has ended or is about to
	models  map[functions.Digest]*model
	phase   phase
	worker  *worker // set while phase is up or missing
	missing error   // why there is no engine, while phase is missing
	device  string  // of the last worker
	state   state   // decide's
}

// New returns a runtime that does nothing until Run is called. It panics if cfg is not valid.
func New(cfg Config) *Runtime {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	r := &Runtime{
		cfg:     cfg.withDefaults(),
		policy:  defaultPolicy,
		changed: make(chan struct{}, 1),
		done:    make(chan struct{}),
		models:  map[functions.Digest]*model{},
	}
	r.launch = r.launchProcess
	return r
}

// Generate asks a model. It returns when the model is the caller's, which may mean to start the worker, to load or
// wake the model and to wait in its queue; faults of the request itself come with the first Recv. The caller closes
// the tokens. When ctx ends, so does the answer.
//
// It returns an error wrapping [functions.ErrQueueFull] if too many calls wait, [functions.ErrNoDevice] if there is no
// engine, [functions.ErrInvalid] if the model's file is broken, [functions.ErrColdStart] if the worker did not start.
func (r *Runtime) Generate(ctx context.Context, ref functions.Ref, req functions.Generation) (functions.Tokens, error) {
	m, err := r.model(ctx, ref)
	if err != nil {
		return nil, err
	}
	l, err := r.wait(ctx, m, &m.callers)
	if err != nil {
		return nil, err
	}
	return r.answer(ctx, l, req)
}

// Wake returns when the model is awake. It fails as Generate does.
func (r *Runtime) Wake(ctx context.Context, ref functions.Ref) error {
	m, err := r.model(ctx, ref)
	if err != nil {
		return err
	}
	_, err = r.wait(ctx, m, &m.wakers)
	return err
}

// Prepare proves that the model can answer: it loads it and lets it decode one token. A model that fails is forgotten.
func (r *Runtime) Prepare(ctx context.Context, ref functions.Ref) error {
	err := r.probe(ctx, ref)
	if errors.Is(err, functions.ErrInvalid) {
		r.forget(ctx, ref.Digest)
	}
	return err
}

func (r *Runtime) probe(ctx context.Context, ref functions.Ref) error {
	tokens, err := r.Generate(ctx, ref, functions.Generation{
		Messages:  []functions.Message{{Role: "user", Content: "hello"}},
		MaxTokens: 1,
	})
	if err != nil {
		return err
	}
	defer tokens.Close()
	for {
		if _, err := tokens.Recv(ctx); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// Status returns every model that was asked for since the start, sorted by name and version.
func (r *Runtime) Status() []ModelStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]ModelStatus, 0, len(r.models))
	for _, m := range r.models {
		s := ModelStatus{
			Name:     m.ref.Name,
			Version:  m.ref.Digest,
			Device:   r.device,
			Tier:     m.tier,
			Queued:   len(m.callers),
			MemBytes: m.memBytes,
			WakeTime: m.wakeTime,
		}
		if m.lease != nil {
			s.Leases = 1
		}
		if m.why != nil {
			s.Why = functions.OneLine(m.why)
		}
		if r.phase == phaseMissing {
			s.Tier, s.Why = TierUnavailable, functions.OneLine(r.missing)
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b ModelStatus) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	return list
}

// model finds the model of ref, or asks the source for it.
func (r *Runtime) model(ctx context.Context, ref functions.Ref) (*model, error) {
	r.mu.Lock()
	m := r.models[ref.Digest]
	r.mu.Unlock()
	if m != nil {
		return m, nil
	}
	spec, err := r.cfg.Models.Model(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", ref.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.models[ref.Digest]; m != nil {
		return m, nil // another call was faster
	}
	m = &model{ref: ref, spec: spec, tier: TierCold, lastUse: time.Now()}
	r.models[ref.Digest] = m
	return m, nil
}

// forget drops a model that nobody uses, here and in the worker.
func (r *Runtime) forget(ctx context.Context, version functions.Digest) {
	r.mu.Lock()
	m := r.models[version]
	if m == nil || m.moving || m.lease != nil || len(m.callers)+len(m.wakers) > 0 {
		r.mu.Unlock()
		return
	}
	w, loaded := r.worker, m.tier != TierCold
	m.moving = true // nothing else is done with it meanwhile
	r.mu.Unlock()
	if w != nil && loaded {
		// If this fails the worker is gone, and the model with it; or ctx has ended, and the next load finds it loaded.
		if _, err := w.client.Unload(ctx, &gpuv1.UnloadRequest{Id: string(version)}); err != nil {
			r.cfg.Log.Warn("unload", "model", m.ref.Name, "err", gpuv1.ErrorOf(err))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m.moving, m.tier, m.memBytes = false, TierCold, 0
	if len(m.callers)+len(m.wakers) == 0 {
		delete(r.models, version)
	}
	r.poke()
}

// poke makes Run decide again.
func (r *Runtime) poke() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}
