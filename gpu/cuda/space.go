package cuda

import (
	"fmt"
	"iter"
	"runtime"
	"sync"

	"github.com/catenary-run/catenary/functions"
)

// Kind says what memory is for. Kinds can be joined with |.
type Kind uint8

const (
	Weights Kind = 1 << iota // filled from the master at every wake
	KV                       // keys and values of what was read: dropped, and empty after a wake
	Scratch                  // everything else that an engine needs: dropped

	Dropped = KV | Scratch
	All     = Weights | Dropped
)

// Tag is whom memory belongs to. What has no model is never parked.
type Tag struct {
	Model string
	Kind  Kind // one
}

// Space is the device memory of the engines in this process. It may be used from many goroutines, and engines call it
// from threads of their own.
type Space struct {
	device      *Device
	granularity int64

	mu       sync.Mutex // guards the fields below, and what blocks and models hold; the driver is called without it
	blocks   map[Addr]*block
	held     map[Physical]properties // what an engine created and has not released
	models   map[string]*resident
	threads  map[int]Tag // by thread: what its allocations are
	pressure func(need int64, by Tag) bool
	poison   int // what dropped memory is filled with at a wake; -1: nothing
}

// block is one mapping, or the place of one that is parked.
type block struct {
	at     Addr
	size   int64
	tag    Tag
	props  properties
	access []access
	engine bool // the engine maps it itself, in a range of its own
	lent   bool // the engine holds the physical memory, too: it can't be given back yet

	physical Physical
	mapped   bool
}

// resident is a model that has memory.
type resident struct {
	move sync.Mutex // held while blocks are mapped, unmapped or freed; taken before Space.mu

	users  int // threads inside Enter
	moving bool
	recipe map[Addr][]Part // by block, in order
	reason string          // why it can't be parked; empty if it can
}

// NewSpace returns a space without memory. It returns an error wrapping [functions.ErrNoDevice] if the device has no
// virtual memory: engines run on it all the same, and nothing is parked.
func NewSpace(d *Device) (*Space, error) {
	if !d.VirtualMemory {
		return nil, fmt.Errorf("%w with virtual memory: models can't be parked on %s", functions.ErrNoDevice, d.Name)
	}
	granularity, err := d.Granularity()
	if err != nil {
		return nil, err
	}
	return &Space{
		device: d, granularity: granularity, poison: -1,
		blocks: map[Addr]*block{}, held: map[Physical]properties{}, models: map[string]*resident{}, threads: map[int]Tag{},
	}, nil
}

// OnPressure sets what is asked when an engine's allocation finds no room. It is called on the engine's thread, may park an
// idle model, and returns whether to try again.
func (s *Space) OnPressure(f func(need int64, by Tag) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pressure = f
}

// Poison has dropped memory filled with b at each wake, so that a test sees what reads it.
func (s *Space) Poison(b byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.poison = int(b)
}

// Enter must surround each call into an engine: memory that the calling thread gets meanwhile has that tag, and the model
// is not parked. The goroutine stays on its thread until leave, which it calls itself, once all work that the call handed
// in is done.
//
// It returns an error wrapping [functions.ErrConflict] if some of the model is parked. It does not wait.
func (s *Space) Enter(tag Tag) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.model(tag.Model)
	if m.moving || s.parked(tag.Model) {
		return nil, fmt.Errorf("%w: model %s is parked, or is being parked or woken", functions.ErrConflict, tag.Model)
	}
	runtime.LockOSThread()
	id := threadID()
	before, nested := s.threads[id]
	s.threads[id] = tag
	m.users++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.threads, id)
		if nested {
			s.threads[id] = before
		}
		m.users--
		runtime.UnlockOSThread()
	}, nil
}

// model returns the state of a model. The caller holds mu.
func (s *Space) model(name string) *resident {
	m := s.models[name]
	if m == nil {
		m = &resident{}
		s.models[name] = m
	}
	return m
}

// of goes over the blocks of a model. The caller holds mu.
func (s *Space) of(model string) iter.Seq[*block] {
	return func(yield func(*block) bool) {
		for _, b := range s.blocks {
			if b.tag.Model == model && !yield(b) {
				return
			}
		}
	}
}

// parked reports whether a block of the model has no memory. The caller holds mu.
func (s *Space) parked(model string) bool {
	for b := range s.of(model) {
		if !b.mapped {
			return true
		}
	}
	return false
}

// refuse notes why a model can't be parked; the first reason stays. The caller holds mu.
func (s *Space) refuse(model, format string, args ...any) {
	if m := s.model(model); m.reason == "" {
		m.reason = fmt.Sprintf(format, args...)
	}
}

// Parkable returns nil, or an error wrapping [functions.ErrInvalid] that says why the model can't be parked.
func (s *Space) Parkable(model string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parkable(model)
}

// parkable is Parkable; the caller holds mu.
func (s *Space) parkable(model string) error {
	m := s.models[model]
	reason := ""
	switch {
	case model == "" || m == nil:
		reason = "it has no memory here"
	case m.reason != "":
		reason = m.reason
	default:
		for b := range s.of(model) {
			if b.lent {
				reason = "the engine holds on to some of its memory"
			}
			if b.tag.Kind == Weights && len(m.recipe[b.at]) == 0 {
				reason = "nobody has said where its weights come from"
			}
		}
	}
	return cantPark(model, reason)
}

// cantPark is the error for a reason, or nil if there is none.
func cantPark(model, reason string) error {
	if reason == "" {
		return nil
	}
	return fmt.Errorf("%w: model %q can't be parked: %s", functions.ErrInvalid, model, reason)
}

// Held is memory in bytes.
type Held struct {
	Mapped int64 // on the device
	Parked int64 // of which only the addresses are left
}

// Footprint returns what a model holds, by kind. Of "" it is what has no model.
func (s *Space) Footprint(model string) map[Kind]Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[Kind]Held{}
	for b := range s.of(model) {
		h := all[b.tag.Kind]
		if b.mapped {
			h.Mapped += b.size
		} else {
			h.Parked += b.size
		}
		all[b.tag.Kind] = h
	}
	return all
}

// mappedBytes is what all blocks hold. The caller holds mu.
func (s *Space) mappedBytes() int64 {
	var n int64
	for _, b := range s.blocks {
		if b.mapped {
			n += b.size
		}
	}
	return n
}

// Forget drops what is known of a model, once the engine has freed it. It returns an error wrapping
// [functions.ErrConflict] if memory of it is left.
func (s *Space) Forget(model string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.of(model) {
		return fmt.Errorf("%w: model %s still has %d bytes at %#x", functions.ErrConflict, model, b.size, b.at)
	}
	delete(s.models, model)
	return nil
}
