package cuda

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/catenary-run/catenary/functions"
)

// Part is some of a model's weights: an address on the device, and the bytes that belong there, which stay as they are for
// as long as the model is known. They are best those of a [Master] that is pinned.
type Part struct {
	At    Addr
	Bytes []byte
}

func (p Part) end() Addr { return p.At + Addr(len(p.Bytes)) }

// SetRecipe says where the weights of a model come from at a wake. The blocks with parts are its weights, whatever they
// were tagged as. Parts that lie in no block are left out: an engine keeps some tensors in host memory. What no part
// covers is zeros after a wake.
//
// It returns an error wrapping [functions.ErrInvalid] if parts overlap, or reach over the end of a block.
func (s *Space) SetRecipe(model string, parts []Part) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	recipe := map[Addr][]Part{}
	for _, p := range parts {
		for b := range s.of(model) {
			if b.engine || len(p.Bytes) == 0 || p.end() <= b.at || p.At >= b.at+Addr(b.size) {
				continue
			}
			if p.At < b.at || p.end() > b.at+Addr(b.size) {
				return fmt.Errorf("%w: the part at %#x reaches over the block at %#x", functions.ErrInvalid, p.At, b.at)
			}
			recipe[b.at] = append(recipe[b.at], p)
		}
	}
	for _, own := range recipe {
		slices.SortFunc(own, func(a, b Part) int { return int(int64(a.At - b.At)) })
		for i := range own[1:] {
			if own[i].end() > own[i+1].At {
				return fmt.Errorf("%w: the parts at %#x and %#x overlap", functions.ErrInvalid, own[i].At, own[i+1].At)
			}
		}
	}
	for at := range recipe {
		s.blocks[at].tag.Kind = Weights
	}
	s.model(model).recipe = recipe
	return nil
}

// fillWeights hands in what brings a block's weights back: each part, and zeros between them.
func (b *block) fillWeights(stream *Stream, parts []Part) error {
	at := b.at
	for _, p := range parts {
		if err := zero(stream, at, p.At); err != nil {
			return err
		}
		if err := stream.Copy(p.At, p.Bytes); err != nil {
			return err
		}
		at = p.end()
	}
	return zero(stream, at, b.at+Addr(b.size))
}

func zero(stream *Stream, from, to Addr) error {
	if from == to {
		return nil
	}
	return stream.Fill(from, 0, int64(to-from))
}

// verifyBytes is how much Verify reads at a time.
const verifyBytes = 16 << 20

// Verify reads the weights of a model back and compares every byte. It returns an error wrapping [functions.ErrConflict] if
// one differs, or if the model is parked.
func (s *Space) Verify(model string) error {
	leave, err := s.Enter(Tag{model, Scratch})
	if err != nil {
		return err
	}
	defer leave()
	s.mu.Lock()
	recipe := s.models[model].recipe
	s.mu.Unlock()
	stream, err := s.device.NewStream()
	if err != nil {
		return err
	}
	defer stream.Close() // its work is done
	got := make([]byte, verifyBytes)
	for _, parts := range recipe {
		for _, p := range parts {
			at := p.At
			for want := range slices.Chunk(p.Bytes, verifyBytes) {
				if err := stream.Read(got[:len(want)], at); err != nil {
					return err
				}
				if err := stream.Synchronize(); err != nil {
					return err
				}
				if !bytes.Equal(got[:len(want)], want) {
					return fmt.Errorf("%w: model %s: the weights at %#x are not those of its master", functions.ErrConflict, model, p.At)
				}
				at += Addr(len(want))
			}
		}
	}
	return nil
}
