package remote

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// sender sends what belongs to one call. A failure to send shows when the reply is read.
type sender struct {
	stream *clientStream
	credit credit
	waited func(functions.Waits) // tells the input how long the function has waited for it

	mu sync.Mutex // held while one message is sent
}

func (s *sender) send(m *catenaryv1.InvokeRequest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Send(m) == nil
}

// cancel tells why the call shall end.
func (s *sender) cancel(cause error) {
	s.send(&catenaryv1.InvokeRequest{Kind: &catenaryv1.InvokeRequest_Cancel{Cancel: catenaryv1.NewFailure(cause)}})
}

// call sends the first message.
func (s *sender) call(ctx context.Context, call functions.Call) bool {
	m := &catenaryv1.InvokeCall{
		Ref: catenaryv1.NewRef(call.Ref), Models: catenaryv1.NewRefs(call.Models), Chain: call.Chain, Step: call.Step, Run: call.Run,
		Turns: call.Turns != nil, Caller: call.Caller, Priority: string(call.Priority),
	}
	if left, limited := functions.TimeLeft(ctx); limited {
		m.TimeLeft = new(int64(left))
	}
	return s.send(&catenaryv1.InvokeRequest{Kind: &catenaryv1.InvokeRequest_Call{Call: m}})
}

// input sends the items of in, as fast as the function takes them, and then how they ended.
func (s *sender) input(ctx context.Context, in functions.Source) {
	for {
		it, err := in.Recv(ctx)
		if ctx.Err() != nil {
			return // the call has ended
		}
		if err != nil {
			end := &catenaryv1.SourceEnd{}
			if !errors.Is(err, io.EOF) {
				end.Error = catenaryv1.NewFailure(err)
			}
			s.send(&catenaryv1.InvokeRequest{Kind: &catenaryv1.InvokeRequest_End{End: end}})
			return
		}
		if !s.credit.use(ctx, it.Size()) || !s.send(&catenaryv1.InvokeRequest{Kind: &catenaryv1.InvokeRequest_Item{Item: catenaryv1.NewItem(it)}}) {
			return
		}
	}
}

// turns tells which turns are over, until ctx ends.
func (s *sender) turns(ctx context.Context, turns *functions.Turns) {
	for told := uint64(0); ; {
		first, changed := turns.First()
		if first > told {
			if !s.send(&catenaryv1.InvokeRequest{Kind: &catenaryv1.InvokeRequest_Over{Over: first}}) {
				return
			}
			told = first
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// The bounds of a call's input between two processes. Without a bound of its own the connection's would be the only one,
// and what comes behind the items, such as the news that a turn is over, would wait until the function takes them.
const (
	aheadItems = functions.DefaultEdgeItems
	aheadBytes = functions.DefaultEdgeBytes
	// The node tells what was taken once it is so much. It is less than what holds the sender, or both would wait.
	reportItems = aheadItems / 2
	reportBytes = aheadBytes / 4
)

// credit bounds the items that are sent and that the function has not taken. The zero value is ready.
type credit struct {
	mu      sync.Mutex // guards the fields below
	first   uint64     // how many items were taken
	sizes   []int64    // of those that are on their way
	bytes   int64      // of all of them
	changed chan struct{}
}

// use waits until an item of that size may be sent, and counts it. It reports false if ctx ends first.
func (c *credit) use(ctx context.Context, size int64) bool {
	for {
		c.mu.Lock()
		// A large item passes when little is on its way: what the node has not told yet must not hold it for ever.
		if len(c.sizes) < aheadItems && (c.bytes < reportBytes || c.bytes+size <= aheadBytes) {
			c.sizes = append(c.sizes, size)
			c.bytes += size
			c.mu.Unlock()
			return true
		}
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		wait := c.changed
		c.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return false
		}
	}
}

// taken notes that the function has taken so many items in all.
func (c *credit) taken(total uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ; c.first < total && len(c.sizes) > 0; c.first++ {
		c.bytes -= c.sizes[0]
		c.sizes = c.sizes[1:]
	}
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}
