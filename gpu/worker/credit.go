package worker

import (
	"sync"

	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// maxCredit bounds what a caller can grant in all: more is no error, and of no use.
const maxCredit = 1 << 30

// credit is how many tokens the caller of one generation has room for.
type credit struct {
	granted func() // is called after each grant

	mu   sync.Mutex // guards left
	left int64
}

func (c *credit) grant(tokens uint32) {
	c.mu.Lock()
	c.left = min(c.left+int64(tokens), maxCredit)
	c.mu.Unlock()
	c.granted()
}

// has reports whether there is some.
func (c *credit) has() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left > 0
}

// spend takes one token's credit. There is some: a call has one step at a time.
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
