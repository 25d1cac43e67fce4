package cuda

import (
	"errors"
	"fmt"

	"github.com/catenary-run/catenary/functions"
)

// move begins to park or wake a model: until done is called nothing else moves its blocks, and Enter refuses. It returns
// the blocks of those kinds that are mapped, or are not.
func (s *Space) move(model string, kinds Kind, mapped bool) (m *resident, blocks []*block, done func(), err error) {
	s.mu.Lock()
	m, err = s.models[model], s.parkable(model)
	s.mu.Unlock()
	if err != nil {
		return nil, nil, nil, err
	}
	m.move.Lock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.users > 0 {
		err = fmt.Errorf("%w: model %s is in use", functions.ErrConflict, model)
	} else {
		err = s.parkable(model) // it may have changed while we waited
	}
	if err != nil {
		m.move.Unlock()
		return nil, nil, nil, err
	}
	for b := range s.of(model) {
		if b.tag.Kind&kinds != 0 && b.mapped == mapped {
			blocks = append(blocks, b)
		}
	}
	m.moving = true
	return m, blocks, func() {
		s.mu.Lock()
		m.moving = false
		s.mu.Unlock()
		m.move.Unlock()
	}, nil
}

// Park gives the device memory of a model back, that of some kinds or of all, and keeps the addresses. It returns how many
// bytes are free now. Nothing is copied.
//
// All or nothing: after an error the model has all that it had. The error wraps [functions.ErrConflict] if the
// model is in use, and [functions.ErrInvalid] if it can't be parked.
func (s *Space) Park(model string, kinds Kind) (freed int64, err error) {
	_, blocks, done, err := s.move(model, kinds, true)
	if err != nil {
		return 0, err
	}
	defer done()
	for i, b := range blocks {
		// The memory itself is still held: what was unmapped before can be mapped again as it was.
		if err := s.device.Unmap(b.at, b.size); err != nil {
			for _, again := range blocks[:i] {
				err = errors.Join(err, s.mapBlock(again, again.physical))
			}
			return 0, err
		}
	}
	s.mu.Lock()
	for _, b := range blocks {
		b.mapped = false
		freed += b.size
	}
	s.mu.Unlock()
	for _, b := range blocks {
		err = errors.Join(err, s.device.Release(b.physical))
	}
	return freed, err
}

// Wake brings back the memory of some kinds of a model, or of all, at the addresses that it had: the weights as its recipe
// says, the rest with whatever is in it. It returns how many bytes the model has more on the device.
//
// All or nothing: after an error the model is parked as it was. The error wraps [ErrNoRoom] if the device has no room.
func (s *Space) Wake(model string, kinds Kind) (mapped int64, err error) {
	m, blocks, done, err := s.move(model, kinds, false)
	if err != nil {
		return 0, err
	}
	defer done()
	// All of the memory first: a lack of room is seen before anything is mapped.
	memory := make([]Physical, 0, len(blocks))
	defer func() {
		if err == nil {
			return
		}
		for _, p := range memory {
			err = errors.Join(err, s.device.Release(p))
		}
	}()
	for _, b := range blocks {
		p, err := s.device.create(b.size, b.props)
		if err != nil {
			return 0, fmt.Errorf("wake %s: %w", model, err)
		}
		memory = append(memory, p)
	}
	if err := s.mapAll(blocks, memory); err != nil {
		return 0, fmt.Errorf("wake %s: %w", model, err)
	}
	if err := s.fillBlocks(blocks, m.recipe); err != nil {
		err = fmt.Errorf("wake %s: %w", model, err)
		for _, b := range blocks {
			err = errors.Join(err, s.device.Unmap(b.at, b.size))
		}
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range blocks {
		b.physical, b.mapped = memory[i], true
		mapped += b.size
	}
	return mapped, nil
}

// mapAll maps every block, or none.
func (s *Space) mapAll(blocks []*block, memory []Physical) error {
	for i, b := range blocks {
		if err := s.mapBlock(b, memory[i]); err != nil {
			for _, before := range blocks[:i] {
				err = errors.Join(err, s.device.Unmap(before.at, before.size))
			}
			return err
		}
	}
	return nil
}

// mapBlock puts p at a block's address, for whom the block was for.
func (s *Space) mapBlock(b *block, p Physical) error {
	if err := s.device.Map(b.at, b.size, p); err != nil {
		return err
	}
	if len(b.access) == 0 {
		return nil
	}
	if err := s.device.setAccess(b.at, b.size, b.access); err != nil {
		return errors.Join(err, s.device.Unmap(b.at, b.size))
	}
	return nil
}

// fillBlocks puts the weights where they belong, and waits for it.
func (s *Space) fillBlocks(blocks []*block, recipe map[Addr][]Part) error {
	s.mu.Lock()
	poison := s.poison
	s.mu.Unlock()
	stream, err := s.device.NewStream()
	if err != nil {
		return err
	}
	for _, b := range blocks {
		switch {
		case b.tag.Kind == Weights:
			err = b.fillWeights(stream, recipe[b.at])
		case poison >= 0:
			err = stream.Fill(b.at, byte(poison), b.size)
		}
		if err != nil {
			break
		}
	}
	// After an error, too: what was handed in before must have ended when the memory goes.
	return errors.Join(err, stream.Synchronize(), stream.Close())
}
