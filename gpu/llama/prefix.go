package llama

import (
	"slices"

	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/catenary-run/catenary/functions"
)

// minPrefix is how many tokens are worth a copy: to copy a sequence is to copy the whole buffer of one.
const minPrefix = 16

// prefix is what a chain says to its model each time: the system messages that a conversation begins with. One is kept in
// a sequence of its own, from which a slot takes it over. What users say is never in it.
type prefix struct {
	kept   []llama.Token // what the sequence holds
	missed []llama.Token // the one that was asked for last, if it was not there
}

// prefixSeq is the sequence beyond the spare one.
func (m *Model) prefixSeq() llama.SeqId { return m.spare() + 1 }

// head returns how many tokens of a prompt are the system messages that it begins with; 0 if they are too few to keep.
func (m *Model) head(messages []functions.Message, prompt []llama.Token) int {
	n := slices.IndexFunc(messages, func(msg functions.Message) bool { return msg.Role != "system" })
	if n < 1 || len(m.seqs) == 1 {
		return 0
	}
	text, err := m.render(messages[:n], false)
	if err != nil {
		return 0 // a template that wants more than that
	}
	common := commonPrefix(llama.Tokenize(m.vocab, text, true, true), prompt)
	if common < minPrefix || common == len(prompt) {
		return 0
	}
	return common
}

// takePrefix gives a slot the kept prefix, if a prompt with such a head begins with it and the slot has read less. It
// returns how many tokens the slot has then, and whether the head is to be kept when it has been read: if it is asked for
// a second time in a row.
func (m *Model) takePrefix(slot, reused, head int, prompt []llama.Token) (read int, keep bool, err error) {
	if head <= reused {
		return reused, false, nil
	}
	p := &m.prefix
	if slices.Equal(p.kept, prompt[:head]) {
		if err := m.replace(llama.SeqId(slot), m.prefixSeq()); err != nil {
			return 0, false, wrap(err)
		}
		m.seqs[slot] = sequence{past: slices.Clone(p.kept), used: true}
		p.missed = nil
		return head, false, nil
	}
	if slices.Equal(p.missed, prompt[:head]) {
		return reused, true, nil
	}
	p.missed = slices.Clone(prompt[:head])
	return reused, false, nil
}

// keepPrefix keeps all that a slot has read.
func (m *Model) keepPrefix(slot int) error {
	m.prefix = prefix{}
	if err := m.replace(m.prefixSeq(), llama.SeqId(slot)); err != nil {
		return err
	}
	m.prefix.kept = slices.Clone(m.seqs[slot].past)
	return nil
}

func commonPrefix(a, b []llama.Token) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
