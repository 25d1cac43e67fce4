package coldstart

import (
	"context"
	"fmt"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// callGrace is how long calls may take to end once they were cancelled. After that their instances are closed under
// them.
const callGrace = 5 * time.Second

// errShuttingDown is what calls get that come too late, and the cause with which those end that take too long.
var errShuttingDown = fmt.Errorf("%w: this node is shutting down; call again", functions.ErrUnavailable)

// activeCall is an Invoke, a Wake or a Prepare that has not returned.
type activeCall struct{ cancel context.CancelCauseFunc }

// enter admits a call. Its context ends when the pools cancel it; leave must be called when it has ended.
func (p *Pools) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refusing {
		return nil, nil, errShuttingDown
	}
	ctx, cancel := context.WithCancelCause(ctx)
	c := &activeCall{cancel}
	p.active[c] = struct{}{}
	leave = func() {
		cancel(nil)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.active, c)
		if p.quiet != nil && len(p.active) == 0 {
			close(p.quiet)
			p.quiet = nil
		}
	}
	return ctx, leave, nil
}

// Drain refuses new calls and waits until those that are there have ended: those in a queue are still served. When ctx
// ends first, they are cancelled, and Drain returns an error that counts them. Run must still be running.
func (p *Pools) Drain(ctx context.Context) error {
	p.mu.Lock()
	p.refusing = true
	if len(p.active) == 0 {
		p.mu.Unlock()
		return nil
	}
	if p.quiet == nil {
		p.quiet = make(chan struct{})
	}
	quiet := p.quiet
	p.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
	}
	n := p.cancelCalls()
	if n == 0 {
		return nil
	}
	return fmt.Errorf("drain: %d calls had to be cancelled: %w", n, context.Cause(ctx))
}

// cancelCalls ends all calls and returns how many there were.
func (p *Pools) cancelCalls() int {
	p.mu.Lock()
	var cancels []context.CancelCauseFunc
	for c := range p.active {
		cancels = append(cancels, c.cancel)
	}
	p.mu.Unlock()
	for _, cancel := range cancels {
		cancel(errShuttingDown)
	}
	return len(cancels)
}

// stop makes every pool go to nothing.
func (p *Pools) stop() {
	p.mu.Lock()
	p.refusing, p.stopping = true, true
	for _, pl := range p.pools {
		pl.failAll(errShuttingDown)
		p.changed(pl)
	}
	p.mu.Unlock()
	p.cancelCalls()
}

// gone reports whether a stop is complete.
func (p *Pools) gone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopping {
		return false
	}
	for _, pl := range p.pools {
		if !pl.empty() {
			return false
		}
	}
	return true
}

// forceClose closes the instances whose calls ignore that they were cancelled. The calls then end, and their instances
// leave in the usual way; the second Close does nothing, so this one counts as leaving too.
func (p *Pools) forceClose() {
	p.mu.Lock()
	var stuck []*instance
	for _, pl := range p.pools {
		for inst := range pl.busy {
			stuck = append(stuck, inst)
			pl.leaving++
		}
	}
	p.mu.Unlock()
	for _, inst := range stuck {
		p.log.Error("call does not end", "func", inst.pool.ref.Name, "instance", inst.ID(), "after", callGrace)
		p.tasks.Go(func() {
			p.tryClose(inst.pool.ref, inst)
			p.mu.Lock()
			defer p.mu.Unlock()
			inst.pool.leaving--
			p.changed(inst.pool)
		})
	}
}
