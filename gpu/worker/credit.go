package worker

import (
	"context"
	"sync"

	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// maxCredit bounds what a caller can grant in all: more is no error, and of no use.
const maxCredit = 1 << 30

// credit is how many tokens the caller of one generation has room for.
type credit struct {
	mu   sync.Mutex // guards left
	left int64
	more chan struct{} // holds one: credit was granted
}

func newCredit() *credit { return &credit{more: make(chan struct{}, 1)} }

func (c *credit) grant(tokens uint32) {
	c.mu.Lock()
	c.left = min(c.left+int64(tokens), maxCredit)
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// wait returns when there is credit, and takes none.
func (c *credit) wait(ctx context.Context) error {
	for {
		c.mu.Lock()
		left := c.left
		c.mu.Unlock()
		if left > 0 {
			return nil
		}
		select {
		case <-c.more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// spend takes one token's credit. Only the goroutine that waits calls it, so there is some.
func (c *credit) spend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
}

// read takes what the caller grants, until the call ends.
func (c *credit) read(stream gpuv1.Worker_GenerateServer) {
	for {
		req, err := stream.Recv()
		if err != nil {
			return
		}
		c.grant(req.GetCredit())
	}
}
