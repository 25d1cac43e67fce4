package coldstart

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/catenary-run/catenary/functions"
)

// Wake implements [functions.Invoker]: it returns when every function has an instance and every model can answer, or
// with the first failure. What it has started goes on in either case, and joins with what calls start.
func (p *Pools) Wake(ctx context.Context, fns, models []functions.Ref) error {
	ctx, leave, err := p.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	g, ctx := errgroup.WithContext(ctx)
	for _, ref := range fns {
		ready := p.aim(ref, forInstance)
		if ready == nil {
			continue
		}
		g.Go(func() error {
			if err := ready(ctx); err != nil {
				return &functions.InvokeError{Func: ref.Name, Version: ref.Digest, Err: err}
			}
			return nil
		})
	}
	for _, ref := range models {
		g.Go(func() error {
			if p.models == nil {
				return errNoModels(ref.Name)
			}
			return p.models.Wake(ctx, ref)
		})
	}
	return g.Wait()
}

func errNoModels(name string) error {
	return fmt.Errorf("%w: model %s: this node runs no models", functions.ErrNoDevice, name)
}

// Prepared says what the preparation of one function or model came to.
type Prepared struct {
	Ref functions.Ref
	// Captured is true if instances come from a snapshot; otherwise Why says why not. Models have neither.
	Captured bool
	Why      string
}

// Prepare makes images of all functions and checks all models, side by side: what a deploy does before names move. It
// returns one entry for each function, then for each model, in their order, and all errors joined. That there is no engine
// for a model is none. If it fails, the code that it brought into memory goes again, unless somebody else wants it.
func (p *Pools) Prepare(ctx context.Context, fns, models []functions.Ref) ([]Prepared, error) {
	ctx, leave, err := p.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	settle := p.deploying(fns)
	done := make([]Prepared, len(fns)+len(models))
	errs := make([]error, len(done))
	var wg sync.WaitGroup
	for i, ref := range fns {
		done[i].Ref = ref
		ready := p.aim(ref, forCode)
		wg.Go(func() {
			if ready != nil {
				if err := ready(ctx); err != nil {
					errs[i] = &functions.InvokeError{Func: ref.Name, Version: ref.Digest, Err: err}
					return
				}
			}
			done[i].Captured, done[i].Why = p.image(ref)
		})
	}
	for i, ref := range models {
		i += len(fns)
		done[i].Ref = ref
		wg.Go(func() {
			if p.models == nil {
				errs[i] = errNoModels(ref.Name)
				return
			}
			errs[i] = p.prepareModel(ctx, ref)
		})
	}
	wg.Wait()
	err = errors.Join(errs...)
	settle(err == nil)
	return done, err
}

// deploying notes that a deploy asks for the code of versions. Settle must be called at its end.
func (p *Pools) deploying(fns []functions.Ref) (settle func(passed bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var asked []*pool
	for _, ref := range fns {
		if _, err := functions.ParseDigest(string(ref.Digest)); err == nil {
			asked = append(asked, p.pool(ref))
		}
	}
	for _, pl := range asked {
		pl.deploys++
	}
	return func(passed bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, pl := range asked {
			pl.deploys--
			pl.state.Deployed = pl.state.Deployed || passed
			p.changed(pl)
		}
	}
}

// prepareModel proves that the model can answer, if there is an engine to ask. Where there is none a deploy passes all the
// same: the model is unavailable then, and everything that does not use it works.
func (p *Pools) prepareModel(ctx context.Context, ref functions.Ref) error {
	err := p.models.Prepare(ctx, ref)
	if errors.Is(err, functions.ErrNoDevice) {
		p.log.WarnContext(ctx, "model is deployed without an engine", "model", ref.Name, "err", err)
		return nil
	}
	return err
}

// image tells of the image that was made of a version on this node.
func (p *Pools) image(ref functions.Ref) (captured bool, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl := p.pools[ref.Digest]; pl != nil && pl.image != nil {
		return pl.image.Captured, pl.image.Why
	}
	return false, "its image has been dropped meanwhile"
}

// What aim is for.
type goal int

const (
	forCode     goal = iota // the image is made and loaded
	forInstance             // an instance is there
)

// list returns the pool's list of those who wait for the goal, and whether it is reached already. mu is held.
func (g goal) list(pl *pool) (list *[]*waiter, reached bool) {
	if g == forCode {
		return &pl.preparers, pl.code == codeLoaded
	}
	return &pl.wakers, pl.running() > 0
}

// aim makes the version go for the goal, and returns a func that waits until it is there, or nil if it is there already.
func (p *Pools) aim(ref functions.Ref, g goal) func(context.Context) error {
	failed := func(err error) func(context.Context) error {
		return func(context.Context) error { return err }
	}
	if _, err := functions.ParseDigest(string(ref.Digest)); err != nil {
		return failed(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping {
		return failed(errShuttingDown)
	}
	pl := p.pool(ref)
	list, reached := g.list(pl)
	if reached {
		p.used(pl, g)
		return nil
	}
	if n := len(*list); n >= pl.room(p.config) {
		return failed(fmt.Errorf("%w: %d wait already for its start; try again later", functions.ErrQueueFull, n))
	}
	w := newWaiter()
	*list = append(*list, w)
	p.changed(pl)
	giveUp := func() (removed bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		list, _ := g.list(pl)
		*list, removed = remove(*list, w)
		p.changed(pl)
		return removed
	}
	return func(ctx context.Context) error {
		if _, err := wait(ctx, w, giveUp, func(outcome) {}); err != nil {
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.used(pl, g)
		return nil
	}
}

// used notes that somebody counts on the version: it stays hot, or its code stays, from now on. mu is held.
func (p *Pools) used(pl *pool, g goal) {
	now := time.Now()
	pl.touched = now
	if g == forInstance {
		pl.state.LastUsed = now
		p.changed(pl)
	}
}
