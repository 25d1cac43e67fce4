package llama

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/catenary-run/catenary/functions"
)

// Result is what a step has given one generation.
type Result struct {
	Token functions.Token
	OK    bool // there is text, or the answer has ended
	Read  int  // tokens that were decoded for it
}

// Step decodes for all of gens in one call into C: a token of the answer for each that has read its prompt, and for the
// others a part of what is left to read. Results are in the order of gens, MaxSlots of them at most, each in a slot of
// its own. After a token with a Finish a generation may not be in a step again. After an error, none of them: their slots
// must be cleared.
func (m *Model) Step(gens []*Generation) ([]Result, error) {
	pending := make([]int, len(gens))
	for i, g := range gens {
		pending[i] = g.wants()
	}
	parts := share(pending, batchTokens)
	last, err := m.decode(gens, parts)
	if err != nil {
		return nil, wrap(err)
	}
	results := make([]Result, len(gens))
	for i, g := range gens {
		if g.head > 0 && g.head == len(m.seqs[g.slot].past) {
			if err := m.keepPrefix(g.slot); err != nil {
				return nil, wrap(err)
			}
			g.head = 0
		}
		if g.pending = g.pending[parts[i]:]; len(g.pending) == 0 {
			results[i] = g.sample(last[i])
		}
		results[i].Read = parts[i]
	}
	return results, nil
}

// wants returns how many tokens the generation would decode next: what is kept as a prefix is read for itself.
func (g *Generation) wants() int {
	if g.head > 0 {
		return g.head - len(g.m.seqs[g.slot].past)
	}
	return len(g.pending)
}

// decode reads the first tokens of what is pending in each generation, as many as parts says, and returns where in the
// batch the last one of each was.
func (m *Model) decode(gens []*Generation, parts []int) (last []int32, err error) {
	if err := m.batch.Clear(); err != nil {
		return nil, err
	}
	// In the order of the slots: the library splits what is not.
	order := make([]int, len(gens))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(gens[a].slot, gens[b].slot) })
	last = make([]int32, len(gens))
	for _, i := range order {
		g := gens[i]
		seq := &m.seqs[g.slot]
		seq.used = true
		ids := []llama.SeqId{llama.SeqId(g.slot)}
		for n, token := range g.pending[:parts[i]] {
			last[i] = m.batch.NTokens
			if err := m.batch.Add(token, llama.Pos(len(seq.past)+n), ids, n == parts[i]-1); err != nil {
				return nil, err
			}
		}
	}
	code, err := llama.Decode(m.ctx, m.batch)
	if err == nil && code != 0 {
		err = fmt.Errorf("llama_decode returned %d", code)
	}
	if err != nil {
		return nil, err
	}
	for i, g := range gens {
		seq := &m.seqs[g.slot]
		seq.past = append(seq.past, g.pending[:parts[i]]...)
	}
	return last, nil
}

// share divides room among those who want some: everyone gets as much as anyone, or all that they want. There must be
// room for one each.
//
//	while there is room and somebody wants more: give one to each who does
func share(want []int, room int) []int {
	parts := make([]int, len(want))
	order := make([]int, len(want))
	for i := range order {
		order[i] = i
	}
	// Who wants least is served first, so what they leave is known when the others are.
	slices.SortFunc(order, func(a, b int) int { return cmp.Or(cmp.Compare(want[a], want[b]), cmp.Compare(a, b)) })
	for n, i := range order {
		parts[i] = min(want[i], room/(len(order)-n))
		room -= parts[i]
	}
	return parts
}
