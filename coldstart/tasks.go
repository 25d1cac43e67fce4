package coldstart

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
)

// resetTimeout bounds what an instance may take to get ready for its next call: it is thrown away otherwise.
const resetTimeout = 5 * time.Second

// guard calls do and turns a panic of a driver into an error wrapping functions.ErrTrap, with the stack in the log.
func (p *Pools) guard(what string, ref functions.Ref, do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("driver panicked", "func", ref.Name, "version", ref.Digest.Short(), "during", what, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: panic during %s: %v", functions.ErrTrap, what, r)
		}
	}()
	return do()
}

// load brings the code of a version into memory, with everything that has to be done before on this node.
func (p *Pools) load(ctx context.Context, pl *pool) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.PrepareTimeout,
		fmt.Errorf("it was not prepared within %v", p.config.PrepareTimeout))
	defer cancel()
	began := time.Now()
	p.mu.Lock()
	manifest, image := pl.manifest, pl.image
	p.mu.Unlock()

	var code sandbox.Code
	var bytes int64
	err := p.guard("load", pl.ref, func() (err error) {
		if manifest == nil {
			if manifest, err = p.manifest(ctx, pl.ref); err != nil {
				return err
			}
		}
		driver := p.drivers[manifest.Kind]
		if driver == nil {
			return fmt.Errorf("%w: nothing here runs functions of kind %s", functions.ErrInvalid, manifest.Kind)
		}
		if image == nil {
			if image, err = p.prepare(ctx, driver, manifest); err != nil {
				return err
			}
		}
		if code, err = driver.Load(ctx, image); err != nil {
			image = nil // its files may be damaged: the next load makes it anew
			return err
		}
		bytes = code.MemBytes()
		return nil
	})
	now := time.Now()
	p.mu.Lock()
	pl.manifest, pl.image = manifest, image
	p.changed(pl)
	if err != nil {
		pl.code, pl.loadBegan = codeNone, time.Time{}
		p.startFailed(pl, startError(ctx, err), now) // and unlocks
		return
	}
	pl.code, pl.loaded, pl.codeBytes, pl.touched = codeLoaded, code, bytes, now
	p.mu.Unlock()
	p.log.Info("function loaded", "func", pl.ref.Name, "version", pl.ref.Digest.Short(), "dur", now.Sub(began),
		"captured", image.Captured, "why", image.Why, "bytes", bytes)
}

// prepare has an artifact prepared. One that a driver refuses may have been damaged since it was stored: that is no fault
// of the function's, and is mended if there is another copy.
func (p *Pools) prepare(ctx context.Context, driver sandbox.Driver, m *functions.Manifest) (*sandbox.Image, error) {
	for again := false; ; again = true {
		artifact, err := p.artifacts.Path(ctx, m.Artifact)
		if err != nil {
			return nil, functions.MissingBlob("artifact", err)
		}
		image, err := driver.Prepare(ctx, m, artifact)
		if err == nil || !errors.Is(err, functions.ErrInvalid) || again {
			return image, err
		}
		damaged, lost := p.artifacts.Verify(ctx, m.Artifact)
		if lost != nil {
			return nil, functions.MissingBlob("artifact", lost)
		}
		if !damaged {
			return nil, err
		}
	}
}

// start starts one instance and, if it can end by itself, stays to see that. A wake is a start from nothing for somebody
// who waits.
func (p *Pools) start(ctx context.Context, pl *pool, code sandbox.Code, began time.Time, wake bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.StartTimeout,
		fmt.Errorf("it was not ready within %v", p.config.StartTimeout))
	defer cancel()
	inst := &instance{pool: pl, began: began, closing: make(chan struct{})}
	err := p.guard("start", pl.ref, func() (err error) {
		if inst.Instance, err = code.New(ctx); err == nil {
			inst.memBytes, inst.done = inst.MemBytes(), inst.Done()
		}
		return err
	})
	now := time.Now()
	inst.ready = now

	p.mu.Lock()
	pl.starting--
	if err != nil {
		p.metrics.started(pl.kind(), now.Sub(began), false)
		p.changed(pl)
		p.startFailed(pl, startError(ctx, err), now) // and unlocks
		if inst.Instance != nil {                    // MemBytes panicked
			p.tryClose(pl.ref, inst)
		}
		return
	}
	p.metrics.started(pl.kind(), now.Sub(began), true)
	if wake {
		pl.wakeTime = now.Sub(began)
	}
	pl.instBytes = inst.memBytes
	pl.offer(inst, now)
	p.changed(pl)
	p.mu.Unlock()
	p.log.Info("instance started", "func", pl.ref.Name, "instance", inst.ID(), "dur", now.Sub(began))
	p.watch(inst)
}

// startError says why a start failed: with the limit that it ran into, if it did. That it failed is said once.
func startError(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case cause != nil && !errors.Is(err, cause):
		text := strings.TrimPrefix(err.Error(), functions.ErrColdStart.Error()+": ")
		return fmt.Errorf("%w: %w (%s)", functions.ErrColdStart, cause, text)
	case errors.Is(err, functions.ErrColdStart):
		return err
	}
	return fmt.Errorf("%w: %w", functions.ErrColdStart, err)
}

// startFailed notes a start that failed, and fails everybody who waits if nothing is left that could serve them. mu is
// held, and free when it returns.
func (p *Pools) startFailed(pl *pool, err error, now time.Time) {
	pl.state = pl.state.failed(now)
	failures := pl.state.Failures
	if pl.running()+pl.starting == 0 {
		pl.failAll(err)
	}
	p.mu.Unlock()
	p.log.Warn("start failed", "func", pl.ref.Name, "version", pl.ref.Digest.Short(), "failures", failures, "err", err)
}

// watch returns when the instance leaves. If it ends by itself it leaves at once.
func (p *Pools) watch(inst *instance) {
	if inst.done == nil {
		return
	}
	select {
	case <-inst.closing:
		return
	case <-inst.done:
	}
	pl := inst.pool
	log := func() { p.log.Warn("instance ended by itself", "func", pl.ref.Name, "instance", inst.ID()) }
	p.mu.Lock()
	select {
	case <-inst.closing: // it ended because it was closed
		p.mu.Unlock()
		return
	default:
	}
	inst.spent = true // its call, or its reset, finds that
	if !pl.unready(inst) {
		p.mu.Unlock()
		log()
		return
	}
	if !inst.served {
		pl.state = pl.state.failed(time.Now()) // one that never served may well be of a kind that never will
	}
	pl.leaving++
	close(inst.closing)
	p.changed(pl)
	p.mu.Unlock()
	log()
	p.closeInstance(inst, "died")
}

// resetInstance makes an instance that has served fit for its next call, or closes it.
func (p *Pools) resetInstance(inst *instance) {
	pl := inst.pool
	ctx, cancel := context.WithTimeout(context.Background(), resetTimeout) // its call, and that call's context, are over
	defer cancel()
	var bytes int64
	began := time.Now()
	err := p.guard("reset", pl.ref, func() error {
		err := inst.Reset(ctx)
		if err == nil {
			bytes = inst.MemBytes()
		}
		return err
	})
	why := "spent"
	now := time.Now()
	p.mu.Lock()
	pl.resetting--
	inst.resetTook = now.Sub(began)
	switch {
	case err == nil && !inst.spent:
		inst.memBytes, pl.instBytes = bytes, bytes
		if len(pl.calls)+len(pl.wakers) > 0 {
			p.changed(pl)
		}
		pl.offer(inst, now)
		p.asBefore(pl)
		p.mu.Unlock()
		return
	case inst.spent:
		why = "died"
	case !errors.Is(err, sandbox.ErrSpent):
		why = "unfit"
	}
	pl.leaving++
	close(inst.closing)
	p.changed(pl)
	p.mu.Unlock()
	if why == "unfit" {
		p.log.Warn("instance can't be reset", "func", pl.ref.Name, "instance", inst.ID(), "err", err)
	}
	p.closeInstance(inst, why)
}

// closeInstance closes an instance that counts as leaving.
func (p *Pools) closeInstance(inst *instance, why string) {
	pl := inst.pool
	p.tryClose(pl.ref, inst)
	p.log.Debug("instance closed", "func", pl.ref.Name, "instance", inst.ID(), "reason", why)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.metrics.stopped(pl.kind(), why)
	pl.leaving--
	p.changed(pl)
}

func (p *Pools) tryClose(ref functions.Ref, inst *instance) {
	if err := p.guard("close", ref, inst.Close); err != nil {
		p.log.Warn("close instance", "func", ref.Name, "instance", inst.ID(), "err", err)
	}
}

// closeCode closes the code of a version that counts as unloading.
func (p *Pools) closeCode(pl *pool, code sandbox.Code, why string) {
	if err := p.guard("close", pl.ref, code.Close); err != nil {
		p.log.Warn("close code", "func", pl.ref.Name, "version", pl.ref.Digest.Short(), "err", err)
	}
	p.log.Info("function cold", "func", pl.ref.Name, "version", pl.ref.Digest.Short(), "reason", why)
	p.mu.Lock()
	defer p.mu.Unlock()
	pl.code = codeNone
	p.changed(pl)
}
