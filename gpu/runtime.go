package gpu

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// Runtime lends models to callers. Its methods may be called from many goroutines.
type Runtime struct {
	cfg     Config
	policy  policy
	metrics *metrics
	local   *device // this machine, the first of devices
	// spawnServer starts the command of an endpoint.
	spawnServer func(Endpoint) (*serving, error)
	changed     chan struct{}  // holds one: something that decide looks at has changed
	done        chan struct{}  // closed when Run ends
	trial       chan struct{}  // holds one token: who took it may prepare a model
	calls       sync.WaitGroup // answers and preparations under way; added to by enter

	mu      sync.Mutex // guards the fields below, and all models
	running bool       // Run was called
	closed  bool       // Run has ended or is about to
	models  map[functions.Digest]*model
	devices []*device
}

// New returns a runtime that does nothing until Run is called. It panics if cfg is not valid.
func New(cfg Config) *Runtime {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	r := &Runtime{
		cfg:     cfg.withDefaults(),
		policy:  defaultPolicy,
		metrics: newMetrics(cfg.Metrics),
		changed: make(chan struct{}, 1),
		done:    make(chan struct{}),
		trial:   make(chan struct{}, 1),
		models:  map[functions.Digest]*model{},
	}
	r.trial <- struct{}{}
	r.local = &device{launch: r.launchProcess, check: r.cfg.Engine, slots: r.cfg.Slots}
	r.devices = []*device{r.local}
	r.spawnServer = r.spawnCommand
	return r
}

// Generate asks a model. It returns when a slot of the model is the caller's, which may mean to start the worker, to load or
// wake the model and to wait in its queue; faults of the request itself come with the first Recv. The caller closes
// the tokens. When ctx ends, so does the answer.
//
// It returns an error wrapping [functions.ErrQueueFull] if too many calls wait, or so many that this one can't finish before
// the deadline of ctx, [functions.ErrNoDevice] if there is no engine, [functions.ErrInvalid] if the model's file is broken,
// [functions.ErrColdStart] if the worker did not start, and [functions.ErrUnavailable] if a server does not answer or not as
// it should.
func (r *Runtime) Generate(ctx context.Context, ref functions.Ref, req functions.Generation) (functions.Tokens, error) {
	m, err := r.model(ctx, ref)
	if err != nil {
		return nil, err
	}
	l, err := r.acquire(ctx, m, req)
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
	return r.awaitHot(ctx, m)
}

// Unavailable returns nil if there may be an engine for files. Otherwise it wraps [functions.ErrNoDevice] and says why there
// is none; what a model that nobody has asked for yet, and so has no status, could say of itself.
func (r *Runtime) Unavailable() error {
	plain := r.local.check()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.local.unavailable(plain)
}

// Status returns every model that was asked for since the start, sorted by name and version.
func (r *Runtime) Status() []ModelStatus {
	plain := r.local.check()
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]ModelStatus, 0, len(r.models))
	for _, m := range r.models {
		s := ModelStatus{
			Name:     m.ref.Name,
			Version:  m.ref.Digest,
			Device:   m.device.name,
			Tier:     m.tier,
			Queued:   len(m.callers),
			MemBytes: m.memBytes,
			WakeTime: m.wakeTime,
			Leases:   leases(m.slots),
			Slots:    len(m.slots),

			PromptTokens: m.promptTokens,
			ReusedTokens: m.reusedTokens,
		}
		for _, slot := range m.slots {
			if slot.session != "" {
				s.Sessions++
			}
		}
		if m.why != nil {
			s.Why = functions.OneLine(m.why)
		}
		var here error // of files
		if m.device == r.local {
			here = plain
		}
		if err := m.device.unavailable(here); err != nil {
			s.Tier, s.Why = TierUnavailable, functions.OneLine(err)
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
	return r.keep(&model{ref: ref, spec: spec, tier: TierCold, lastUse: time.Now()}), nil
}

// keep adds m to the models, unless another call was faster: then it returns that one's.
func (r *Runtime) keep(m *model) *model {
	r.mu.Lock()
	defer r.mu.Unlock()
	if first := r.models[m.ref.Digest]; first != nil {
		return first
	}
	m.device = r.deviceOf(m.spec.URL)
	m.device.models = append(m.device.models, m)
	r.models[m.ref.Digest] = m
	return m
}

// enter counts a call that Run waits for at its end. It fails once Run ends.
func (r *Runtime) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errStopping
	}
	r.calls.Add(1)
	return nil
}

// errStopping is what a call gets that the end of Run cuts off or keeps out.
var errStopping = fmt.Errorf("%w: the server is stopping", functions.ErrClosed)

// poke makes Run decide again.
func (r *Runtime) poke() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}
