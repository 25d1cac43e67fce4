package image

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/catenary-run/catenary/functions"
)

// Go's runtime keeps its random states as internal/chacha8rand.State:
//
//	buf  [32]uint64  the values of one block
//	seed [4]uint64   the key
//	i    uint32      how many values are used
//	n    uint32      how many the block has: 32, or 28 in the last one before a new key, whose rest becomes the key
//	c    uint32      the number of the block: 0, 4, 8 or 12
const (
	stateBytes = 304 // with the padding at its end
	stateSeed  = 256
	stateI     = 288
	stateN     = 292
	stateC     = 296

	blockValues = 32
	lastValues  = 28
	lastBlock   = 12
)

// FindSeeds returns where in a Go guest's memory the random states of its runtime lie, in ascending order. It needs no
// knowledge of the runtime's layout: a candidate counts only if its values really are what ChaCha8 makes of its key.
// In the memory of other guests it finds nothing. A state that isn't seeded yet isn't found, and repeats nothing: the
// runtime seeds it from random_get. A generator that a program made by itself with rand.NewChaCha8 is found as well.
func FindSeeds(mem []byte) []uint32 {
	var found []uint32
	le := binary.LittleEndian
	for at := 0; at+stateBytes <= len(mem); at += 8 {
		// Almost all places end here. The two counters are one load.
		counters := le.Uint64(mem[at+stateI:])
		i, n := uint32(counters), uint32(counters>>32)
		if n != blockValues && n != lastValues || i > n {
			continue
		}
		c := le.Uint32(mem[at+stateC:])
		if c > lastBlock || c%4 != 0 || (n == lastValues) != (c == lastBlock) {
			continue
		}
		if isState(mem[at:at+stateBytes], c) {
			found = append(found, uint32(at))
		}
	}
	return found
}

// isState computes block c of the key in state and compares it with the values there.
func isState(state []byte, c uint32) bool {
	// What ChaCha8 unmarshals: a mark, how many values are used, and the key.
	text := append(make([]byte, 0, 48), "chacha8:"...)
	text = binary.BigEndian.AppendUint64(text, uint64(c)/4*blockValues)
	text = append(text, state[stateSeed:stateSeed+32]...)
	var g rand.ChaCha8
	if err := g.UnmarshalBinary(text); err != nil {
		return false
	}
	for k := range lastValues {
		if g.Uint64() != binary.LittleEndian.Uint64(state[8*k:]) {
			return false
		}
	}
	return true
}

// Reseed gives every random state in mem a new key from random and forgets the values made with the old one. At is what
// FindSeeds returned for the same memory. It returns an error wrapping [functions.ErrInvalid] for a place outside mem,
// and that of random.
func Reseed(mem []byte, at []uint32, random io.Reader) error {
	for _, a := range at {
		if int64(a)+stateBytes > int64(len(mem)) {
			return fmt.Errorf("%w random state at %d of %d bytes of memory", functions.ErrInvalid, a, len(mem))
		}
		state := mem[a : int64(a)+stateBytes]
		if _, err := io.ReadFull(random, state[stateSeed:stateSeed+32]); err != nil {
			return fmt.Errorf("reseed: %w", err)
		}
		binary.LittleEndian.PutUint32(state[stateI:], blockValues)
		binary.LittleEndian.PutUint32(state[stateN:], blockValues)
		binary.LittleEndian.PutUint32(state[stateC:], 0)
	}
	return nil
}
