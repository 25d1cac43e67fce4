package image

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/rewrite"
)

// Memory is the linear memory of one instance. It has the methods of wazero's experimental.LinearMemory. Its methods
// may be called from many goroutines; the bytes themselves belong to the guest while it runs.
type Memory struct {
	image *Image // nil if it has none

	mu      sync.Mutex // guards the fields below
	all     []byte     // the whole reservation; nil once freed
	max     int64
	first   int64 // what the first Reallocate comes up with at least
	size    int64
	started bool // the first Reallocate has been
	grown   bool
	refused bool
	keeper  *keeper // nil before the first Reset
}

// NewPlainMemory returns an empty memory that can grow to maxBytes, with data written into it. It returns an error
// wrapping [functions.ErrMemoryLimit] if the data lies beyond that. The caller frees it.
func NewPlainMemory(maxBytes int64, data []rewrite.Segment) (*Memory, error) {
	if err := checkMax(maxBytes); err != nil {
		return nil, err
	}
	for _, d := range data {
		if end := int64(d.Offset) + int64(len(d.Bytes)); end > maxBytes {
			return nil, fmt.Errorf("%w: the module has data up to byte %d and the limit is %d: raise it",
				functions.ErrMemoryLimit, end, maxBytes)
		}
	}
	all, err := reserve(maxBytes)
	if err != nil {
		return nil, fmt.Errorf("map a memory of %d bytes: %w", maxBytes, err)
	}
	for _, d := range data {
		copy(all[d.Offset:], d.Bytes)
	}
	return &Memory{all: all, max: maxBytes}, nil
}

// checkMax reports whether a memory can have that maximum.
func checkMax(maxBytes int64) error {
	if maxBytes <= 0 || maxBytes > maxMemory {
		return fmt.Errorf("%w memory limit of %d bytes: it must be 1 to %d", functions.ErrInvalid, maxBytes, int64(maxMemory))
	}
	return nil
}

// Reallocate grows the memory to size bytes and returns it; it never moves and never shrinks. The first one returns as
// much as the image has, if that is more. It returns nil if size is beyond the maximum, which Refused then reports, or
// after Free.
func (m *Memory) Reallocate(size uint64) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		return nil
	}
	if size > uint64(m.max) {
		m.refused = true
		return nil
	}
	want := int64(size)
	if !m.started {
		m.started = true
		want = max(want, m.first)
	} else if want > m.size {
		m.grown = true
	}
	m.size = max(m.size, want)
	return m.all[:m.size:m.size]
}

// Bytes returns the memory as it is now. It is empty before the first Reallocate and nil after Free.
func (m *Memory) Bytes() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		return nil
	}
	return m.all[:m.size:m.size]
}

// Grown reports whether the memory has grown since it came up.
func (m *Memory) Grown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.grown
}

// Refused reports whether the guest was refused memory beyond the maximum.
func (m *Memory) Refused() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refused
}

// Reset gives the memory the image's bytes again, all of them: random states too, so the caller reseeds them. The guest
// must have stopped. It returns an error for a memory that has grown, has no image or whose image is closed, and for one
// whose pages could not be put back; then it must not be used again.
//
// The pages that the calls write again and again stay the memory's own: see KeptBytes.
func (m *Memory) Reset() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.all == nil:
		return fmt.Errorf("reset memory: %w", functions.ErrClosed)
	case m.image == nil:
		return errors.New("reset memory: it has no image")
	case m.grown:
		return errors.New("reset memory: it has grown, and what has grown can't shrink")
	}
	m.image.mu.RLock()
	defer m.image.mu.RUnlock()
	if m.image.held == nil {
		return fmt.Errorf("reset memory: image: %w", functions.ErrClosed)
	}
	page := os.Getpagesize()
	if m.keeper == nil {
		m.keeper = newKeeper(int(m.size)/page, seedPages(m.image.meta.Seeds, page))
	}
	if err := m.image.held.restore(m.all[:m.size], m.keeper); err != nil {
		return fmt.Errorf("reset memory: %w", err)
	}
	m.refused = false
	return nil
}

// KeptBytes returns how many bytes stayed the memory's own in the last Reset. It is what PrivateBytes returns after it,
// without a look at the kernel's tables, until somebody writes.
func (m *Memory) KeptBytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keeper == nil {
		return 0
	}
	return int64(m.keeper.kept) * int64(os.Getpagesize())
}

// PrivateBytes returns how many bytes of this machine's memory belong to this memory alone: the pages that were
// written, in memory or swapped out. On Linux since 6.7 it is exact. On older ones pages count too that were only read
// and are no part of the image. Elsewhere, and where /proc is not mounted, it is the size, an upper bound.
func (m *Memory) PrivateBytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil || m.size == 0 {
		return 0
	}
	if m.image != nil {
		m.image.mu.RLock()
		defer m.image.mu.RUnlock()
		if m.image.held != nil {
			return m.image.held.privateBytes(m.all[:m.size])
		}
	}
	return privateBytes(m.all[:m.size])
}

// Free gives the memory back. The guest must have stopped, and nobody may use the bytes any more. Further calls do
// nothing.
func (m *Memory) Free() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		return
	}
	release(m.all)
	m.all, m.size = nil, 0
}
