package gpu

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// Run starts, watches and ends the worker, and moves models between tiers, until ctx ends. Then it fails all who wait,
// ends the calls in flight and the worker, and returns nil when all of it is gone. It may be called once.
func (r *Runtime) Run(ctx context.Context) error {
	r.mu.Lock()
	if r.running {
		r.mu.Unlock()
		return errors.New("gpu: Run was called before")
	}
	r.running = true
	r.mu.Unlock()

	var actions sync.WaitGroup
	for ctx.Err() == nil {
		next, todo := r.step(time.Now())
		for _, do := range todo {
			actions.Go(func() { do(ctx) })
		}
		if len(todo) > 0 {
			continue
		}
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = time.After(time.Until(next))
		}
		select {
		case <-r.changed:
		case <-timer:
		case <-ctx.Done():
		}
	}
	r.shut()
	actions.Wait()
	r.calls.Wait()
	return nil
}

// step decides once and does what needs no waiting. It returns the rest, one func per action, and when to decide again.
func (r *Runtime) step(now time.Time) (next time.Time, todo []func(context.Context)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.devices {
		at, more := r.stepDevice(d, now)
		if next.IsZero() || !at.IsZero() && at.Before(next) {
			next = at
		}
		todo = append(todo, more...)
	}
	return next, todo
}

// stepDevice is step for one device. mu is held.
func (r *Runtime) stepDevice(dev *device, now time.Time) (time.Time, []func(context.Context)) {
	if dev.worker != nil && dev.worker.ended() {
		r.lostLocked(dev, dev.worker)
	}
	seen := observed{worker: dev.phase}
	for _, m := range dev.models {
		m.noteWait(now)
		seen.models = append(seen.models, m.view(r.cfg.IdleAfter))
	}
	var d decision
	dev.state, d = decide(r.policy, seen, dev.state, now)

	var todo []func(context.Context)
	if d.start {
		dev.phase = phaseStarting
		todo = append(todo, func(ctx context.Context) { r.start(ctx, dev) })
	}
	w := dev.worker
	move := func(m *model, do func(context.Context, *worker, *model)) {
		m.moving = true
		todo = append(todo, func(ctx context.Context) { do(ctx, w, m) })
	}
	for i, m := range dev.models {
		switch d.models[i] {
		case actLoad:
			move(m, r.load)
		case actWake:
			move(m, r.wake)
		case actPark:
			move(m, r.park)
		case actUnload:
			move(m, r.unload)
		case actServe:
			m.serve(w, now)
		case actRefuse:
			m.fail(m.errorf("%w", dev.missing))
		}
	}
	return d.next, todo
}

// start launches a worker and watches it until it ends. A worker without an engine is of no use and ends at once.
func (r *Runtime) start(ctx context.Context, d *device) {
	if err := d.check(); err != nil {
		r.notStarted(d, phaseDown, false, err)
		return
	}
	began := time.Now()
	w, err := d.launch(ctx)
	if err != nil {
		r.notStarted(d, d.absent(), true, fmt.Errorf("%w: %s: %w", functions.ErrColdStart, d, err))
		r.cfg.Log.Error(d.String()+" did not start", "err", err)
		return
	}
	if w.unavailable != "" {
		r.notStarted(d, phaseMissing, true, noEngine(w))
		r.cfg.Log.Warn("models are unavailable", "err", w.unavailable)
		w.stop()
		return
	}
	r.mu.Lock()
	d.phase, d.worker, d.name = phaseUp, w, w.device
	r.mu.Unlock()
	r.poke()
	r.cfg.Log.Info(d.String()+" started", "device", w.device, "engine", w.version, "dur", time.Since(began))
	select {
	case <-w.done:
		r.lost(d, w)
		if how := w.exit(); how != "" {
			r.cfg.Log.Error(d.String()+" ended", "device", w.device, "err", how)
		} else {
			r.cfg.Log.Info(d.String()+" stopped", "device", w.device)
		}
	case <-ctx.Done():
		<-r.done // so that calls end with that as their reason
		w.stop()
	}
}

// notStarted fails everyone who waits: there is no worker, and err says why. One that was tried counts as an end that
// came too soon.
func (r *Runtime) notStarted(d *device, phase phase, tried bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.poke()
	d.phase, d.missing = phase, err
	d.state.alive = tried
	for _, m := range d.models {
		m.fail(m.errorf("%w", err))
	}
}

// finished notes that the worker has given a whole answer, before its caller knows: should it end right then, the next
// start does not wait.
func (r *Runtime) finished(l *lease, took spent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.whole = true
	l.model.costs.Measured(took.first, took.rest, took.tokens)
	if d := l.model.device; d.worker == l.worker {
		d.state = d.state.served()
	}
}

// lost notes that w, the worker of d, has ended: every model there is cold. It does nothing if that is known.
func (r *Runtime) lost(d *device, w *worker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lostLocked(d, w)
}

func (r *Runtime) lostLocked(d *device, w *worker) {
	if d.worker != w {
		return
	}
	d.worker, d.phase = nil, phaseDown
	if how := w.exit(); how != "" {
		d.phase, d.missing = d.absent(), fmt.Errorf("%w: %s: %s", functions.ErrUnavailable, d, how)
	}
	for _, m := range d.models {
		m.tier, m.slots, m.memBytes = TierCold, nil, 0
	}
	r.poke()
}

func (r *Runtime) load(ctx context.Context, w *worker, m *model) {
	r.raise(w, m, func() (*gpuv1.Residency, error) {
		path, err := r.path(ctx, m.spec)
		if err != nil {
			return nil, m.errorf("%w", err)
		}
		res, err := w.client.Load(ctx, r.loadRequest(m, path))
		if err != nil {
			return nil, r.explain(ctx, w, m, err)
		}
		return res.GetResidency(), nil
	})
}

// path returns what a worker loads a model from: a file, or at a server its name there.
func (r *Runtime) path(ctx context.Context, m *functions.Model) (string, error) {
	if m.Engine == functions.EngineOpenAI {
		return m.Served, nil
	}
	return r.cfg.Models.ModelFile(ctx, m)
}

func (r *Runtime) loadRequest(m *model, path string) *gpuv1.LoadRequest {
	return &gpuv1.LoadRequest{
		Id:      string(m.ref.Digest),
		Path:    path,
		Context: int32(min(m.spec.Context, 1<<30)),
		Threads: int32(r.cfg.Threads),
		Slots:   int32(m.device.slots), CacheBytes: r.cfg.CacheBytes,
	}
}

func (r *Runtime) wake(ctx context.Context, w *worker, m *model) {
	r.raise(w, m, func() (*gpuv1.Residency, error) {
		// The worker reads the file again. Whoever has it knows whether it is still what was loaded.
		if _, err := r.path(ctx, m.spec); err != nil {
			return nil, m.errorf("%w", err)
		}
		res, err := w.client.Wake(ctx, &gpuv1.WakeRequest{Id: string(m.ref.Digest)})
		if err != nil {
			return nil, r.explain(ctx, w, m, err)
		}
		return res.GetResidency(), nil
	})
}

// raise makes m hot by way of do, or fails everyone who waits for it with do's error.
func (r *Runtime) raise(w *worker, m *model, do func() (*gpuv1.Residency, error)) {
	began := time.Now()
	res, err := do()
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.poke()
	if m.moving = false; err != nil && w.ended() && w.exit() == "" {
		return // nobody needed it a moment ago; those who wait get the next one
	}
	if m.why = err; err != nil {
		m.fail(err)
		return
	}
	if m.device.worker != w {
		return // it ended right after its answer; those who wait get the next one
	}
	m.proven = m.proven || m.device == r.local
	now := time.Now()
	if !m.asked.IsZero() {
		began = m.asked
	}
	m.tier, m.memBytes, m.wakeTime, m.lastUse = TierHot, res.GetMemBytes(), now.Sub(began), now
	m.slots = make([]slot, min(max(1, res.GetSlots()), maxSlots))
	r.cfg.Log.Info("model awake", "model", m.ref.Name, "dur", m.wakeTime, "bytes", res.GetBytes())
}

func (r *Runtime) park(ctx context.Context, w *worker, m *model) {
	r.lower(ctx, w, m, TierParked, func() error {
		_, err := w.client.Park(ctx, &gpuv1.ParkRequest{Id: string(m.ref.Digest)})
		return err
	})
}

func (r *Runtime) unload(ctx context.Context, w *worker, m *model) {
	r.lower(ctx, w, m, TierCold, func() error {
		_, err := w.client.Unload(ctx, &gpuv1.UnloadRequest{Id: string(m.ref.Digest)})
		return err
	})
}

// lower brings m to a lower tier by way of do. Calls that came meanwhile raise it again.
func (r *Runtime) lower(ctx context.Context, w *worker, m *model, to Tier, do func() error) {
	err := do()
	if err != nil {
		err = r.explain(ctx, w, m, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.poke()
	m.moving = false
	if err != nil {
		m.lastUse = time.Now() // try again after another idle time, not at once
		r.cfg.Log.Error("model stays as it is", "model", m.ref.Name, "tier", to, "err", err)
		return
	}
	if m.device.worker == w {
		m.tier, m.slots, m.memBytes = to, nil, 0
		r.cfg.Log.Info("model "+string(to), "model", m.ref.Name)
	}
}

// shut refuses new calls and fails those that wait.
func (r *Runtime) shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	close(r.done)
	for _, m := range r.models {
		m.fail(m.errorf("%w", errStopping))
	}
}
