package chains

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
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

// send hands it on. It fails only if ctx ends, or the run with it.
func (o *outlet) send(ctx context.Context, it functions.Item) error {
	it.Seq = o.seq
	o.seq++
	if o.x.observed[o.n.step.Name] {
		o.x.r.Observed(o.n.step.Name, it)
	}
	for i := 0; i < len(o.readers); {
		err := o.readers[i].Send(ctx, it)
		switch {
		case errors.Is(err, errUntaken):
			o.readers = slices.Delete(o.readers, i, i+1)
			continue
		case err != nil:
			return err
		}
		i++
	}
	return nil
}

// close ends the edges: with err, if the step failed.
func (o *outlet) close(err error) {
	for _, s := range o.readers {
		s.CloseSend(err)
	}
}

// callSink is the sink of one call. It holds the call to what its function has declared, and remembers what went wrong,
// whatever the invoker makes of it.
type callSink struct {
	x       *exec
	n       *node
	in      functions.Item
	out     *outlet
	sent    int
	refused error // an item that may not pass
	broken  error // an item that could not be handed on
}

// Send checks it, completes it and hands it on.
func (s *callSink) Send(ctx context.Context, it functions.Item) error {
	if err := cmp.Or(s.refused, s.broken); err != nil {
		return err
	}
	if it, s.refused = s.complete(it); s.refused != nil {
		return s.refused
	}
	if s.broken = s.out.send(ctx, it); s.broken != nil {
		return s.broken
	}
	s.sent++
	return nil
}

// unary reports whether one call has to give exactly one item.
func (s *callSink) unary() bool { return !s.n.stream }

func (s *callSink) complete(it functions.Item) (functions.Item, error) {
	switch {
	case len(it.Value) == 0:
		return it, fmt.Errorf("%w: %s sent an item without a value", functions.ErrFunction, s.n.ref)
	case s.unary() && s.sent > 0:
		return it, fmt.Errorf("%w: %s gives one value and sent a second one", functions.ErrFunction, s.n.ref)
	}
	// Here the fault has a step. Further on it would be blamed on whoever reads the value first.
	refs, err := value.CheckBlobs(s.n.out.Schema, it.Value)
	if err != nil {
		return it, fmt.Errorf("%w: %s sent what its output's type does not allow: %v", functions.ErrFunction, s.n.ref, reason(err))
	}
	it.Turn = s.in.Turn
	if it.Time.IsZero() || s.unary() {
		it.Time = s.in.Time
	}
	if err := s.carry(&it, refs); err != nil {
		return it, err
	}
	if size := it.Size(); size > s.x.r.MaxItemBytes {
		return it, fmt.Errorf("%w: %s sent an item of %d bytes; an edge takes %d", functions.ErrOutputLimit, s.n.ref, size, s.x.r.MaxItemBytes)
	}
	return it, nil
}

// carry attaches those of refs, the blobs that the value refers to, that only came in with the call's input.
func (s *callSink) carry(it *functions.Item, refs []functions.Blob) error {
	has := func(list []functions.Attachment, d functions.Digest) int {
		return slices.IndexFunc(list, func(a functions.Attachment) bool { return a.Digest == d })
	}
	for _, ref := range refs {
		if has(it.Blobs, ref.Digest) >= 0 {
			continue
		}
		i := has(s.in.Blobs, ref.Digest)
		if i < 0 {
			return fmt.Errorf("%w: the output of %s refers to blob %s, which came neither with it nor with the input",
				functions.ErrFunction, s.n.ref, ref.Digest.Short())
		}
		it.Blobs = append(slices.Clip(it.Blobs), s.in.Blobs[i])
	}
	return nil
}

// outcome returns why the call has failed, if it has: err is what the invoker says. What was refused comes first, since
// the invoker can only echo it.
func (s *callSink) outcome(err error) error {
	if err := cmp.Or(s.refused, err, s.broken); err != nil {
		return err
	}
	if s.unary() && s.sent == 0 {
		return fmt.Errorf("%w: %s ended without a value", functions.ErrFunction, s.n.ref)
	}
	return nil
}
