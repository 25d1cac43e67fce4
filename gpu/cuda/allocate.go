package cuda

import (
	"errors"
	"fmt"
	"slices"

	"github.com/catenary-run/catenary/functions"
)

// What engines ask for. Each of these is called on an engine's thread, at any time, and returns a CUDA error.

// result is the code that an engine gets for an error.
func result(err error) uintptr {
	if err == nil {
		return uintptr(codeOK)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return uintptr(e.Code)
	}
	return uintptr(codeInvalidValue)
}

// obtain returns memory, and asks for room as long as there is none and somebody makes some.
func (s *Space) obtain(size int64, props properties) (Physical, error) {
	for {
		p, err := s.device.create(size, props)
		if !errors.Is(err, ErrNoRoom) {
			return p, err
		}
		s.mu.Lock()
		ask, by := s.pressure, s.threads[threadID()]
		s.mu.Unlock()
		if ask == nil || !ask(size, by) {
			return 0, err
		}
	}
}

// Allocate is for engines of our own, which call us and not CUDA: memory with the tag that the goroutine has entered with. It
// returns an error wrapping [ErrNoRoom] if the device has not so much, and nobody makes room.
func (s *Space) Allocate(size int64) (Addr, error) { return s.allocate(size) }

// Free gives memory of Allocate back, parked or not. It returns an error wrapping [functions.ErrNotFound] if the address is
// none that Allocate returned.
func (s *Space) Free(at Addr) error {
	known, err := s.free(at)
	if !known {
		return fmt.Errorf("%w: device memory at %#x", functions.ErrNotFound, at)
	}
	return err
}

// allocate is cudaMalloc.
func (s *Space) allocate(asked int64) (Addr, error) {
	size := max(1, (asked+s.granularity-1)/s.granularity) * s.granularity
	at, err := s.device.Reserve(size)
	if err != nil {
		return 0, err
	}
	b := &block{at: at, size: size, props: s.device.properties(), access: []access{s.device.access()}, mapped: true}
	b.physical, err = s.obtain(size, b.props)
	if err != nil {
		return 0, errors.Join(err, s.device.Unreserve(at, size))
	}
	if err := s.mapBlock(b, b.physical); err != nil {
		return 0, errors.Join(err, s.device.Release(b.physical), s.device.Unreserve(at, size))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b.tag = s.threads[threadID()]
	s.blocks[at] = b
	s.model(b.tag.Model)
	return at, nil
}

// free is cudaFree. It reports false if the address is none that allocate returned.
func (s *Space) free(at Addr) (known bool, err error) {
	s.mu.Lock()
	b := s.blocks[at]
	if b == nil || b.engine {
		s.mu.Unlock()
		return false, nil
	}
	m := s.model(b.tag.Model)
	s.mu.Unlock()
	m.move.Lock()
	defer m.move.Unlock()
	s.mu.Lock()
	delete(s.blocks, at)
	s.mu.Unlock()
	if b.mapped {
		err = s.device.Synchronize() // as cudaFree does
		err = errors.Join(err, s.device.Unmap(at, b.size), s.device.Release(b.physical))
	}
	return true, errors.Join(err, s.device.Unreserve(at, b.size))
}

// createFor is cuMemCreate.
func (s *Space) createFor(size int64, props properties) (Physical, error) {
	p, err := s.obtain(size, props)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[p] = props
	return p, nil
}

// mapFor is cuMemMap: an engine's own pool grows. What is in such a pool is scratch, whatever the engine does just then.
func (s *Space) mapFor(at Addr, size, offset int64, p Physical) error {
	d := s.device.driver
	err := d.check("cuMemMap", d.fn.mapAt(at, uint64(size), uint64(offset), p, 0))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &block{at: at, size: size, engine: true, lent: true, physical: p, mapped: true, props: s.held[p]}
	b.tag = Tag{s.threads[threadID()].Model, Scratch}
	s.model(b.tag.Model)
	shared := offset != 0
	for _, other := range s.blocks {
		shared = shared || other.mapped && other.physical == p
	}
	if shared {
		s.refuse(b.tag.Model, "the engine maps parts of its memory, or maps some twice")
	}
	s.blocks[at] = b
	return nil
}

// releaseFor is cuMemRelease. Memory that is mapped is kept, so that a park that fails can map it again; it goes when it is
// unmapped, as the engine expects.
func (s *Space) releaseFor(p Physical) error {
	s.mu.Lock()
	delete(s.held, p)
	kept := false
	for _, b := range s.blocks {
		if b.engine && b.mapped && b.lent && b.physical == p {
			b.lent, kept = false, true
		}
	}
	s.mu.Unlock()
	if kept {
		return nil
	}
	return s.device.Release(p)
}

// accessFor is cuMemSetAccess: over one block or more.
func (s *Space) accessFor(at Addr, size int64, who []access) error {
	s.mu.Lock()
	for _, b := range s.within(at, size) {
		b.access = slices.Clone(who)
	}
	s.mu.Unlock()
	return s.device.setAccess(at, size, who)
}

// unmapFor is cuMemUnmap: of one block or more, some of them parked.
func (s *Space) unmapFor(at Addr, size int64) error {
	s.mu.Lock()
	blocks := s.within(at, size)
	if len(blocks) == 0 {
		s.mu.Unlock()
		return s.device.Unmap(at, size) // from before we were attached
	}
	m := s.model(blocks[0].tag.Model)
	s.mu.Unlock()
	m.move.Lock()
	defer m.move.Unlock()
	s.mu.Lock()
	for _, b := range blocks {
		delete(s.blocks, b.at)
	}
	s.mu.Unlock()
	var err error
	for _, b := range blocks {
		if !b.mapped {
			continue
		}
		err = errors.Join(err, s.device.Unmap(b.at, b.size))
		if !b.lent {
			err = errors.Join(err, s.device.Release(b.physical))
		}
	}
	return err
}

// within returns the engine's own blocks in a range. The caller holds mu.
func (s *Space) within(at Addr, size int64) []*block {
	var all []*block
	for _, b := range s.blocks {
		if b.engine && b.at >= at && b.at+Addr(b.size) <= at+Addr(size) {
			all = append(all, b)
		}
	}
	return all
}
