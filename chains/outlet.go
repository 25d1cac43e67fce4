package chains

import (
	"context"

	"github.com/catenary-run/catenary/functions"
)

// outlet is where a step writes: it numbers the items, shows them to who observes the step, and hands them to every
// reader. The slowest reader holds the step. One goroutine at a time may use it.
type outlet struct {
	x       *exec
	n       *node
	readers []*functions.Stream
	seq     uint64
}

func (x *exec) outlet(n *node) *outlet {
	o := &outlet{x: x, n: n}
	for _, e := range n.to {
		o.readers = append(o.readers, x.edges[e])
	}
	return o
}

// Send hands it on; an item of a turn that is over is dropped. It fails only if nobody reads any more (errUnread), or
// if ctx ends or the run with it.
func (o *outlet) Send(ctx context.Context, it functions.Item) error {
	if o.n.turned && o.x.turns.Over(it.Turn) {
		return nil
	}
	it.Seq = o.seq
	o.seq++
	if o.x.observed[o.n.step.Name] {
		o.x.r.Observed(o.n.step.Name, it)
	}
	readers, err := sendAll(ctx, o.readers, it)
	o.readers = readers
	return err
}

// close ends the edges: with err, if the step failed.
func (o *outlet) close(err error) {
	for _, s := range o.readers {
		s.CloseSend(err)
	}
}
