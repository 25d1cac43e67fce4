package chains

import (
	"maps"
	"slices"
	"strings"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// links tells which step reads which, by name, regardless of order and scope.
type links struct {
	steps map[string]spec.Step
	reads map[string][]string // what a step waits for: of a switch also all that its branches read
}

func newLinks(c spec.Chain) links {
	l := links{map[string]spec.Step{}, map[string][]string{}}
	c.Walk(func(st spec.Step) {
		if _, twice := l.steps[st.Name]; twice {
			return
		}
		l.steps[st.Name] = st
		reads := []string{st.From}
		for _, cs := range st.Cases {
			reads = append(reads, cs.Out)
			for _, inner := range cs.Steps {
				reads = append(reads, inner.Name)
			}
		}
		l.reads[st.Name] = reads
	})
	return l
}

// path returns the steps by which from waits for to, both included, or nil.
func (l links) path(from, to string) []string {
	seen := map[string]bool{}
	var find func(string) []string
	find = func(name string) []string {
		if name == to {
			return []string{name}
		}
		if seen[name] {
			return nil
		}
		seen[name] = true
		for _, next := range l.reads[name] {
			if rest := find(next); rest != nil {
				return append([]string{name}, rest...)
			}
		}
		return nil
	}
	return find(from)
}

// before returns name and all that it waits for.
func (l links) before(name string) map[string]bool {
	seen := map[string]bool{}
	var add func(string)
	add = func(name string) {
		if !seen[name] {
			seen[name] = true
			for _, next := range l.reads[name] {
				add(next)
			}
		}
	}
	add(name)
	return seen
}

// pressing returns the streams that stop when nobody reads the stream name: itself and those that it is made of. Between
// says whether a call makes a stream of a stream.
func (l links) pressing(name string, between func(spec.Step) bool) map[string]bool {
	seen := map[string]bool{}
	var add func(string)
	add = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		switch st := l.steps[name]; st.Op {
		case spec.OpEach:
			add(st.From)
		case spec.OpCall:
			if between(st) {
				add(st.From)
			}
		case spec.OpSwitch:
			for _, cs := range st.Cases {
				add(cs.Out)
			}
		}
	}
	add(name)
	return seen
}

// read returns the value that a step of sc reads by name and a new edge to it. What says which part of the step names
// it. The value is not known if there was a fault.
func (c *compiler) read(sc *scope, name, pos, step, what string) (*source, int) {
	var crossed []*block
	for s := sc; s != nil; s = s.outer {
		v := s.values[name]
		if v == nil {
			crossed = append(crossed, s.block)
			continue
		}
		edge := c.plan.edges
		c.plan.edges++
		*v.to = append(*v.to, edge)
		s.block.edges = append(s.block.edges, edge)
		for _, b := range crossed {
			b.outer = append(b.outer, edge)
		}
		return v, edge
	}
	c.unseen(sc, name, pos, step, what)
	return &source{name: name}, 0
}

// unseen says why a name means nothing where it stands.
func (c *compiler) unseen(sc *scope, name, pos, step, what string) {
	c.misread = true
	other, exists := c.links.steps[name]
	if name == "" {
		c.fault(pos, step, functions.ErrInvalid, "%s is empty; name a step or %s", what, spec.Input)
		return
	}
	if !exists {
		var visible []string
		for s := sc; s != nil; s = s.outer {
			visible = slices.AppendSeq(visible, maps.Keys(s.values))
		}
		c.fault(pos, step, functions.ErrNotFound, "%s: step %q%s", what, name, didYouMean(name, visible))
		return
	}
	if cycle := c.links.path(name, step); step != "" && cycle != nil {
		c.fault(pos, step, functions.ErrInvalid, "%s: the steps wait for one another in a cycle: %s", what,
			strings.Join(append([]string{step}, cycle...), " reads "))
		return
	}
	declared := "it"
	if other.Pos != "" {
		declared = "it, at " + other.Pos + ","
	}
	if c.inBranch(name) {
		c.fault(pos, step, functions.ErrInvalid, "%s: step %q: %s is inside a branch, and nobody sees into a branch; read the switch instead", what, name, declared)
		return
	}
	c.fault(pos, step, functions.ErrInvalid, "%s: step %q: %s is declared further down; move it above", what, name, declared)
}

// inBranch reports whether name is a step inside a branch.
func (c *compiler) inBranch(name string) bool {
	return !slices.ContainsFunc(c.graph.Spec.Steps, func(st spec.Step) bool { return st.Name == name })
}

// held refuses a case that reads a stream which has to end before the switch can choose: nobody could read it
// meanwhile, so it would have to be held whole, and an edge is bounded.
func (c *compiler) held(st spec.Step, cs spec.Case, pos string) {
	awaited := c.links.before(st.From)
	inside := map[string]bool{}
	spec.Chain{Steps: cs.Steps}.Walk(func(in spec.Step) { inside[in.Name] = true })
	check := func(name, pos string) {
		if inside[name] {
			return
		}
		for stream := range c.links.pressing(name, c.between) {
			if c.streams(stream) && awaited[stream] {
				c.fault(pos, st.Name, functions.ErrInvalid,
					"the case reads the stream %s, but the switch can only choose when stream %s has ended; route earlier, or read what the switch routes",
					name, stream)
				return
			}
		}
	}
	check(cs.Out, pos)
	spec.Chain{Steps: cs.Steps}.Walk(func(in spec.Step) {
		check(in.From, in.Pos)
		for _, inner := range in.Cases {
			check(inner.Out, inner.Pos)
		}
	})
}

// between reports whether st calls a function from a stream to a stream.
func (c *compiler) between(st spec.Step) bool {
	m := c.fns[st.Func]
	return m != nil && m.In.Stream && m.Out.Stream
}

// streams reports whether the step of that name, which has been checked already, gives a stream.
func (c *compiler) streams(name string) bool {
	for _, n := range c.plan.steps {
		if n.step.Name == name {
			return n.out.Stream
		}
	}
	return false
}
