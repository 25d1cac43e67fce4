package image

import (
	"fmt"
	"sync"

	"github.com/catenary-run/catenary/functions"
)

// Meta is what an image says about itself. Write fills in MemBytes and FileBytes.
type Meta struct {
	ModuleHash  string   `json:"module_hash"`     // of the module that was captured
	Engine      string   `json:"engine"`          // the engine, its version and settings
	GlobalNames []string `json:"global_names"`    // exports of the captured globals
	Globals     []uint64 `json:"globals"`         // their values, in the same order
	MemBytes    int64    `json:"mem_bytes"`       // the size of the memory when it was captured
	FileBytes   int64    `json:"file_bytes"`      // how much of it is kept: trailing zero pages are not
	Seeds       []uint32 `json:"seeds,omitempty"` // offsets of random states, as FindSeeds returns them
	ClockBase   int64    `json:"clock_base"`      // the guest's monotonic clock at the capture, in nanoseconds
}

// check reports what makes m impossible.
func (m *Meta) check() error {
	switch {
	case m.MemBytes < 0 || m.MemBytes > maxMemory || m.MemBytes%wasmPage != 0:
		return fmt.Errorf("%w image: a memory of %d bytes", functions.ErrInvalid, m.MemBytes)
	case m.FileBytes < 0 || m.FileBytes > m.MemBytes:
		return fmt.Errorf("%w image: %d bytes kept of %d", functions.ErrInvalid, m.FileBytes, m.MemBytes)
	case len(m.Globals) != len(m.GlobalNames):
		return fmt.Errorf("%w image: %d globals and %d names", functions.ErrInvalid, len(m.Globals), len(m.GlobalNames))
	}
	for _, at := range m.Seeds {
		if int64(at)+stateBytes > m.MemBytes {
			return fmt.Errorf("%w image: a random state at %d of %d bytes", functions.ErrInvalid, at, m.MemBytes)
		}
	}
	return nil
}

const (
	wasmPage  = 64 << 10
	maxMemory = 4 << 30 // what 32 bits address
)

// Image is a captured memory, held in this process for all instances. It may be used from many goroutines.
type Image struct {
	meta Meta

	mu   sync.RWMutex // guards the field below
	held *content     // nil once closed
}

// Meta returns what the image says about itself. Its slices are shared and must not be changed.
func (im *Image) Meta() Meta { return im.meta }

// MappedBytes returns how many bytes of this machine's memory the image takes for all its instances together. It is 0
// once the image is closed.
func (im *Image) MappedBytes() int64 {
	im.mu.RLock()
	defer im.mu.RUnlock()
	if im.held == nil {
		return 0
	}
	return im.held.residentBytes()
}

// NewMemory returns a memory that comes up with the image's bytes and can grow to maxBytes. It returns an error
// wrapping [functions.ErrMemoryLimit] if the image is larger than that, and [functions.ErrClosed] after Close. The
// caller frees it.
func (im *Image) NewMemory(maxBytes int64) (*Memory, error) {
	if err := checkMax(maxBytes); err != nil {
		return nil, err
	}
	if im.meta.MemBytes > maxBytes {
		return nil, fmt.Errorf("%w: the image has %d bytes of memory and the limit is %d: raise it",
			functions.ErrMemoryLimit, im.meta.MemBytes, maxBytes)
	}
	im.mu.RLock()
	defer im.mu.RUnlock()
	if im.held == nil {
		return nil, fmt.Errorf("image: %w", functions.ErrClosed)
	}
	all, err := im.held.reserve(maxBytes)
	if err != nil {
		return nil, fmt.Errorf("map a memory of %d bytes: %w", maxBytes, err)
	}
	return &Memory{image: im, all: all, first: im.meta.MemBytes, max: maxBytes}, nil
}

// Close lets go of the image. Memories made of it stay as they are, though they can't be reset any more: each holds the
// bytes through its own mapping, and the last one to be freed frees them. Further calls do nothing.
func (im *Image) Close() error {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.held == nil {
		return nil
	}
	err := im.held.close()
	im.held = nil
	return err
}
