package image

import (
	"io"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/rewrite"
)

// Meta is what an image says about itself.
type Meta struct {
	ModuleHash  string   `json:"module_hash"`     // of the rewritten module that was captured
	Engine      string   `json:"engine"`          // engine, its version and settings
	GlobalNames []string `json:"global_names"`    // exports of the captured globals
	Globals     []uint64 `json:"globals"`         // their values, in the same order
	MemBytes    int64    `json:"mem_bytes"`       // the size of the memory when it was captured
	FileBytes   int64    `json:"file_bytes"`      // how much of it is kept: trailing zero pages are not
	Seeds       []uint32 `json:"seeds,omitempty"` // offsets of random states, as FindSeeds returns them
	ClockBase   int64    `json:"clock_base"`      // the guest's monotonic clock at the capture, in nanoseconds
}

// Write stub.
func Write(dir string, meta Meta, mem []byte) error { return functions.ErrInvalid }

// Image is an image.
type Image struct{ meta Meta }

// Open stub.
func Open(dir string) (*Image, error) { return nil, functions.ErrNotFound }

// Meta returns it.
func (i *Image) Meta() Meta { return i.meta }

// MappedBytes is.
func (i *Image) MappedBytes() int64 { return 0 }

// Close closes.
func (i *Image) Close() error { return nil }

// NewMemory makes.
func (i *Image) NewMemory(maxBytes int64) (*Memory, error) { return nil, functions.ErrInvalid }

// NewPlainMemory makes.
func NewPlainMemory(maxBytes int64, data []rewrite.Segment) (*Memory, error) {
	return nil, functions.ErrInvalid
}

// Memory is a memory.
type Memory struct{}

// Reallocate grows.
func (m *Memory) Reallocate(size uint64) []byte { return nil }

// Free frees.
func (m *Memory) Free() {}

// Bytes returns.
func (m *Memory) Bytes() []byte { return nil }

// Grown reports.
func (m *Memory) Grown() bool { return false }

// Refused reports.
func (m *Memory) Refused() bool { return false }

// PrivateBytes is.
func (m *Memory) PrivateBytes() int64 { return 0 }

// FindSeeds finds.
func FindSeeds(mem []byte) []uint32 { return nil }

// Reseed reseeds.
func Reseed(mem []byte, at []uint32, random io.Reader) error { return nil }
