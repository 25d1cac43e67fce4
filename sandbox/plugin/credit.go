package plugin

import (
	"context"
	"fmt"
	"sync"

	"github.com/catenary-run/catenary/functions"
)

// What may be under way to a plugin that says what it has taken.
const (
	// aheadItems hides the time that a message takes, and no more: an item that waits in the plugin is one that an
	// interruption can't drop.
	aheadItems = 4
	// aheadBytes bounds what those items hold; a larger one goes alone.
	aheadBytes = windowBytes
)

// credit is the room for items under way to a plugin. One goroutine waits for it and spends it; another one gets it back.
// A nil *credit has no end.
type credit struct {
	room chan struct{} // holds one if there may be more than before

	mu    sync.Mutex // guards the fields below
	sizes []int64    // of the items that were sent and not taken yet, the oldest first
	bytes int64      // their sum
	total uint64     // items taken
}

func newCredit() *credit { return &credit{room: make(chan struct{}, 1)} }

// await waits until there is room for an item of a size. It returns the cause of ctx when that ends first.
func (c *credit) await(ctx context.Context, size int64) error {
	for c != nil && !c.has(size) {
		select {
		case <-c.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (c *credit) has(size int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sizes) == 0 || len(c.sizes) < aheadItems && c.bytes+size <= aheadBytes
}

// spend takes the room of an item that is sent now.
func (c *credit) spend(size int64) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sizes = append(c.sizes, size)
	c.bytes += size
}

// taken gives back the room of all items but those after the first n of the call.
func (c *credit) taken(n uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := c.total + uint64(len(c.sizes))
	if n < c.total || n > sent {
		return fmt.Errorf("%w: the plugin says that it has taken %d items, after %d, of %d that were sent", functions.ErrFunction, n, c.total, sent)
	}
	for ; c.total < n; c.total++ {
		c.bytes -= c.sizes[0]
		c.sizes = c.sizes[1:]
	}
	select {
	case c.room <- struct{}{}:
	default:
	}
	return nil
}
