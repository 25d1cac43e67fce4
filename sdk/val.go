package sdk

import (
	"github.com/catenary-run/catenary/chains/spec"
)

// Val is an edge of a chain that is being defined: what the chain's input or a step will yield once it runs. It holds
// no value, so it can't be read in Go; a CEL expression of [When] reads it where values are routed.
type Val[T any] struct {
	_    [0]*T // no conversion from a Val of another type
	from *source
}

// source is what a Val refers to: a step, or the chain's input.
type source struct {
	steps *Steps
	block *block
	name  string
}

// block is a list of steps that is being written: the chain's, or a branch's.
type block struct {
	outer *block
	steps []spec.Step
	// route names the switch whose branch this is; empty for the chain's own block.
	route string
}

// sees reports whether a step of b may read what a step of other yields: nobody sees into a branch.
func (b *block) sees(other *block) bool {
	for ; b != nil; b = b.outer {
		if b == other {
			return true
		}
	}
	return false
}

// use returns the name by which the part of the chain at pos reads v.
func (s *Steps) use(v *source, pos, part string) string {
	switch {
	case v == nil:
		s.fault(pos, "%s is a Val that no step gave; pass on what a step returned", part)
		return ""
	case v.steps != s:
		s.fault(pos, "%s is step %q of chain %s, not of this one; a chain uses its own steps only", part, v.name, v.steps.name)
		return ""
	}
	if !s.now.sees(v.block) {
		s.fault(pos, "%s is step %q, which is inside a branch of switch %q; read what the switch returns instead", part, v.name, v.block.route)
	}
	return v.name
}
