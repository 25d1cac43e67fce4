package worker

import (
	"context"
	"slices"
	"sync"
)

// batch decodes for many calls of one model at once. They join and leave between two steps: a step is of those who are in
// and have room for a token, as many of one caller as of another. So one who comes waits for no more than the step that is
// under way, if others of its caller are not before it, and one who leaves costs no more than that. A loop takes the steps
// while anybody is in.
type batch struct {
	turns *turns
	// step takes one step of calls, in a turn, and leaves the outcome in each.
	step  func(calls []*call)
	loops *sync.WaitGroup // joins the loop
	wake  chan struct{}   // holds one: somebody has come, has gone, or has room

	mu      sync.Mutex    // guards the fields below, and made and err of the calls
	in      []*call       // who was in a step longest ago is first
	running bool          // there is a loop
	now     []*call       // those of the step that is under way
	stepped chan struct{} // closed when it ends
}

func newBatch(turns *turns, loops *sync.WaitGroup, step func([]*call)) *batch {
	return &batch{turns: turns, step: step, loops: loops, wake: make(chan struct{}, 1)}
}

// join makes c one of those for whom steps are taken, until its answer has ended or it leaves.
func (b *batch) join(c *call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.in = append(b.in, c)
	if !b.running {
		b.running = true
		b.loops.Go(b.run)
	}
	b.poke()
}

// leave returns when no step of c is under way and none will be.
func (b *batch) leave(c *call) {
	b.mu.Lock()
	b.removeLocked(c)
	c.gone = true
	var stepped chan struct{}
	if slices.Contains(b.now, c) {
		stepped = b.stepped
	}
	b.mu.Unlock()
	b.poke()
	if stepped != nil {
		<-stepped
	}
}

func (b *batch) removeLocked(c *call) {
	b.in = slices.DeleteFunc(b.in, func(other *call) bool { return other == c })
}

// take returns what has been made for c since it was asked last, and why there will be no more, if a step has failed.
func (b *batch) take(c *call) ([]made, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	tokens := c.made
	c.made = nil
	return tokens, c.err
}

// poke makes the loop look again who has room.
func (b *batch) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// run takes steps until nobody is in.
func (b *batch) run() {
	for {
		b.mu.Lock()
		if len(b.in) == 0 {
			b.running = false
			b.mu.Unlock()
			return
		}
		ready := slices.ContainsFunc(b.in, (*call).hasRoom)
		b.mu.Unlock()
		if !ready {
			<-b.wake
			continue
		}
		// No context: whoever has the turn gives it up soon, and who leaves meanwhile is left out.
		_ = b.turns.do(context.Background(), func() error {
			if calls := b.begin(); len(calls) > 0 {
				defer b.end(calls)
				b.step(calls)
			}
			return nil
		})
	}
}

// begin returns whose step it is.
func (b *batch) begin() []*call {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now, b.stepped = nil, make(chan struct{})
	var ready []*call
	for _, c := range b.in {
		if c.hasRoom() {
			ready = append(ready, c)
		}
	}
	b.now = members(ready, func(c *call) string { return c.req.GetCaller() })
	return b.now
}

// members returns whom a step is of: of each caller as many as of the one that has fewest, so that callers have equal
// parts of the device however many calls they have. It is pure.
func members[T any](ready []T, caller func(T) string) []T {
	count := map[string]int{}
	for _, c := range ready {
		count[caller(c)]++
	}
	fewest := len(ready)
	for _, n := range count {
		fewest = min(fewest, n)
	}
	var in []T
	taken := map[string]int{}
	for _, c := range ready {
		if who := caller(c); taken[who] < fewest {
			taken[who]++
			in = append(in, c)
		}
	}
	return in
}

// end gives the calls what came of their step.
func (b *batch) end(calls []*call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range calls {
		token, ok, err := c.outcome()
		if ok {
			c.made = append(c.made, token)
			c.credit.spend()
		}
		b.removeLocked(c)
		if c.err = err; err == nil && token.Finish == "" && !c.gone {
			b.in = append(b.in, c)
		}
		if ok || err != nil {
			c.poke()
		}
	}
	b.now = nil
	close(b.stepped)
}
