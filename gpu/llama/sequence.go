package llama

import (
	"errors"
	"fmt"

	"github.com/hybridgroup/yzma/pkg/llama"
)

// whole, as either end of a range of positions, means that there is no bound there.
const whole = llama.Pos(-1)

// sequence is what one slot's keys and values stand for. Position i of the slot is past[i].
type sequence struct {
	past []llama.Token
	used bool // something was decoded since it was last wiped: there may be data even if past is empty
}

// Clear forgets all that was read in a slot, the data too: no later generation can read it, not even by a fault of the
// library. It does nothing to a slot in which nothing was read, as all slots of a parked model are.
func (m *Model) Clear(slot int) error {
	if !m.Awake() || !m.seqs[slot].used {
		return nil
	}
	m.seqs[slot].past = nil
	if err := m.wipe(slot); err != nil {
		return wrap(err)
	}
	m.seqs[slot].used = false
	return nil
}

// Reset forgets what was read in all slots, whatever is in their memory now, and zeroes it. It must be called when a device
// has lost what it held, before any slot is used again; generations under way are of no use then. It does nothing to a
// parked model.
func (m *Model) Reset() error {
	if !m.Awake() {
		return nil
	}
	clear(m.seqs)
	return wrap(llama.MemoryClear(m.memory, true))
}

func (m *Model) wipe(slot int) error {
	if len(m.seqs) == 1 {
		return llama.MemoryClear(m.memory, true)
	}
	// MemorySeqRm only marks places as free. To copy a sequence that was never used replaces the whole buffer by its own,
	// and that holds zeros. The library does it before the next decode, whoever's that is. Memory that is not made of keys
	// and values, a recurrent model's, has nothing to copy then, and zeros what was marked free when it is used again.
	return m.replace(llama.SeqId(slot), m.spare())
}

// replace gives a sequence all of another one's data, in place of its own.
func (m *Model) replace(seq, by llama.SeqId) error {
	if _, err := llama.MemorySeqRm(m.memory, seq, whole, whole); err != nil {
		return err
	}
	return llama.MemorySeqCp(m.memory, by, seq, whole, whole)
}

// spare is the sequence beyond the slots, in which nothing is ever decoded.
func (m *Model) spare() llama.SeqId { return llama.SeqId(len(m.seqs)) }

// keep leaves in a slot only what prompt begins with, and returns how many tokens that is. The last token of the prompt
// is never among them: the first token of an answer is sampled from what decoding it yields.
func (m *Model) keep(slot int, prompt []llama.Token) (int, error) {
	past := m.seqs[slot].past
	n := commonPrefix(past, prompt[:len(prompt)-1])
	if n == len(past) {
		return n, nil
	}
	if n > 0 {
		// Not every kind of model can forget only a part.
		if ok, err := llama.MemorySeqRm(m.memory, llama.SeqId(slot), llama.Pos(n), whole); err != nil || ok {
			m.seqs[slot].past = past[:n]
			return n, wrap(err)
		}
	}
	return 0, m.Clear(slot)
}

// errNoSlot is a fault of the caller's.
var errNoSlot = errors.New("llama: there is no such slot")

func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("llama: %w", err)
}
