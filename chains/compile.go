package chains

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// Bounds of a chain. They keep what a deploy can ask for, in time and in goroutines, far above what a person writes.
const (
	maxSteps = 256
	maxCases = 32 // of one switch
	maxDepth = 16 // of switches inside switches
)

// Compile checks g against the manifests of its functions, by name: names, scopes, cycles, that every step is read, the
// kind and the type of every edge, and every CEL expression. Its error joins all faults, each with its position and wrapping
// [functions.ErrInvalid] or [functions.ErrNotFound].
func Compile(g *Graph, manifests map[string]*functions.Manifest) (*Plan, error) {
	c := &compiler{
		graph: g,
		fns:   map[string]*functions.Manifest{},
		plan:  &Plan{graph: g, hash: g.Hash()},
		links: newLinks(g.Spec),
	}
	if c.bounded() {
		c.pin(manifests)
		c.chain()
	}
	if len(c.faults) > 0 {
		return nil, fmt.Errorf("chain %s: %w", g.Spec.Name, errors.Join(c.faults...))
	}
	return c.plan, nil
}

// compiler checks one graph and builds its plan.
type compiler struct {
	graph  *Graph
	fns    map[string]*functions.Manifest // that are pinned and sound
	plan   *Plan
	links  links
	faults []error
	// misread is set if a name that something reads means nothing where it stands.
	misread bool
}

// source is what a step reads: the chain's input, or the output of a step.
type source struct {
	name  string
	port  functions.Port
	known bool // false: there was a fault, and what follows from it is not one more
	to    *[]int
}

// scope is what the steps of a block can read.
type scope struct {
	outer  *scope
	block  *block
	values map[string]*source
}

func (c *compiler) fault(pos, step string, kind error, format string, args ...any) {
	where := at(pos)
	if step != "" {
		where += "step " + step + ": "
	}
	c.faults = append(c.faults, fmt.Errorf("%s%w: "+format, append([]any{where, kind}, args...)...))
}

// reason returns the text of an error that is quoted inside a fault, without the kind that the fault begins with.
func reason(err error) string {
	return strings.TrimPrefix(err.Error(), functions.ErrInvalid.Error()+": ")
}

func (c *compiler) invalid(st spec.Step, format string, args ...any) {
	c.fault(st.Pos, st.Name, functions.ErrInvalid, format, args...)
}

// bounded checks the size of the chain, so that all that follows may recurse.
func (c *compiler) bounded() bool {
	steps := 0
	var deep func([]spec.Step, int) int
	deep = func(list []spec.Step, depth int) int {
		most := depth
		for _, st := range list {
			if steps++; steps > maxSteps || depth > maxDepth {
				return most
			}
			for _, cs := range st.Cases {
				most = max(most, deep(cs.Steps, depth+1))
			}
		}
		return most
	}
	depth := deep(c.graph.Spec.Steps, 0)
	if steps > maxSteps {
		c.fault(c.graph.Spec.Pos, "", functions.ErrInvalid, "more than %d steps; split the chain", maxSteps)
	}
	if depth > maxDepth {
		c.fault(c.graph.Spec.Pos, "", functions.ErrInvalid, "switches nest deeper than %d; split the chain", maxDepth)
	}
	return len(c.faults) == 0
}

// pin takes over the manifests that are the versions which the graph is pinned to.
func (c *compiler) pin(manifests map[string]*functions.Manifest) {
	for _, ref := range sorted(c.graph.Functions) {
		m := manifests[ref.Name]
		err := func() error {
			if m == nil {
				return fmt.Errorf("%w: function %s: its manifest is not there; deploy it again", functions.ErrNotFound, ref)
			}
			if got := m.Digest(); got != ref.Digest {
				return fmt.Errorf("%w: function %s: the manifest is of version %s", functions.ErrInvalid, ref, got.Short())
			}
			for _, side := range []struct {
				name string
				port functions.Port
			}{{"input", m.In}, {"output", m.Out}} {
				if side.port.Schema == nil {
					return fmt.Errorf("%w: function %s: its %s has no schema", functions.ErrInvalid, ref, side.name)
				}
				if err := side.port.Schema.Validate(); err != nil {
					return fmt.Errorf("function %s: its %s: %w", ref, side.name, err)
				}
			}
			for _, name := range m.Uses.Models {
				if _, ok := c.graph.Models[name]; !ok {
					return fmt.Errorf("%w: function %s uses model %q, which the graph does not pin", functions.ErrNotFound, ref, name)
				}
			}
			return nil
		}()
		if err != nil {
			c.faults = append(c.faults, err)
			continue
		}
		c.fns[ref.Name] = m
	}
}

// chain checks the whole chain.
func (c *compiler) chain() {
	s := c.graph.Spec
	if err := functions.CheckName("chain", s.Name); err != nil {
		c.faults = append(c.faults, fmt.Errorf("%s%w", at(s.Pos), err))
	}
	if _, err := functions.ParsePriority(s.Priority); err != nil {
		c.faults = append(c.faults, fmt.Errorf("%s%w", at(s.Pos), err))
	}
	c.names()
	in := c.input()
	c.plan.in = in.port
	c.plan.top = &block{}
	top := &scope{block: c.plan.top, values: map[string]*source{spec.Input: in}}
	if len(s.Steps) == 0 {
		c.fault(s.Pos, "", functions.ErrInvalid, "the chain has no steps")
		return
	}
	c.steps(top, s.Steps, 0)
	out, edge := c.read(top, s.Out, s.Pos, "", "out")
	c.plan.top.out = edge
	c.plan.out = out.port
	for _, st := range s.Unread() {
		if c.misread {
			break // its reader may be one that names another step by mistake
		}
		c.fault(st.Pos, "", functions.ErrInvalid, "%s", spec.UnreadFault(st))
	}
	c.sleepers(c.plan.top)
	c.turns()
}

// names checks the name of every step.
func (c *compiler) names() {
	first := map[string]string{}
	c.graph.Spec.Walk(func(st spec.Step) {
		if st.Name == spec.Input {
			c.invalid(st, "%q is the name of the chain's input; give the step another name", spec.Input)
			return
		}
		if err := functions.CheckName("step", st.Name); err != nil {
			c.faults = append(c.faults, fmt.Errorf("%s%w", at(st.Pos), err))
			return
		}
		if pos, twice := first[st.Name]; twice {
			if pos != "" {
				pos = " at " + pos
			}
			c.invalid(st, "another step%s has this name already; give this one a name of its own", pos)
			return
		}
		first[st.Name] = st.Pos
	})
}

// input finds the type of the chain's input: what one of the steps that read it takes, such that it suits all.
func (c *compiler) input() *source {
	in := &source{name: spec.Input, to: &c.plan.feed}
	type reader struct {
		spec.Step
		port functions.Port
	}
	var readers []reader
	untyped := false
	c.graph.Spec.Walk(func(st spec.Step) {
		if st.Op != spec.OpCall && st.Op != spec.OpEach || st.From != spec.Input {
			return
		}
		m := c.fns[st.Func]
		if m == nil {
			untyped = true // its own fault is told where the step is checked
			return
		}
		readers = append(readers, reader{st, functions.Port{Schema: m.In.Schema, Stream: m.In.Stream || st.Op == spec.OpEach}})
	})
	for _, r := range readers {
		suits := func(other reader) bool { return carries(r.port, other.port) == nil }
		if !slices.ContainsFunc(readers, func(other reader) bool { return !suits(other) }) {
			in.port, in.known = r.port, true
			return in
		}
	}
	switch {
	case len(readers) > 0:
		first := readers[0]
		for _, r := range readers[1:] {
			if err := carries(first.port, r.port); err != nil {
				c.invalid(r.Step, "it takes %s from the chain's input, but step %s takes %s from it: %v", portString(r.port), first.Name, portString(first.port), reason(err))
			}
		}
	case !untyped:
		c.fault(c.graph.Spec.Pos, "", functions.ErrInvalid,
			"no call reads the chain's input, so it has no type; begin with a call that has from: %s", spec.Input)
	}
	return in
}

// carries returns nil if what a carries can be read as b.
func carries(a, b functions.Port) error {
	if a.Stream != b.Stream {
		return errors.New("one is a stream, the other is one value")
	}
	return a.Schema.AssignableTo(b.Schema)
}

// steps checks the steps of a block in order: each sees what is declared before it.
func (c *compiler) steps(sc *scope, list []spec.Step, depth int) {
	for _, st := range list {
		n := &node{step: st, index: len(c.plan.steps)}
		c.plan.steps = append(c.plan.steps, n)
		sc.block.nodes = append(sc.block.nodes, n)
		from, edge := c.read(sc, st.From, st.Pos, st.Name, "from")
		n.from = edge
		known := c.options(st)
		switch st.Op {
		case spec.OpCall, spec.OpEach:
			known = c.call(n, from) && known
		case spec.OpLast:
			known = c.last(n, from) && known
		case spec.OpSwitch:
			known = c.branches(sc, n, from, depth) && known
		default:
			c.invalid(st, "unknown operation %q; use call, each, last or switch", st.Op)
			known = false
		}
		if _, twice := sc.values[st.Name]; !twice {
			sc.values[st.Name] = &source{name: st.Name, port: n.out, known: known, to: &n.to}
		}
	}
}

// options checks that a step has only what its operation knows.
func (c *compiler) options(st spec.Step) bool {
	before := len(c.faults)
	calls := st.Op == spec.OpCall || st.Op == spec.OpEach
	if !calls && st.Func != "" {
		c.invalid(st, "%s calls no function", st.Op)
	}
	if !calls && st.Timeout != 0 {
		c.invalid(st, "a timeout belongs to call and each, not to %s", st.Op)
	}
	if !calls && st.Lazy {
		c.invalid(st, "lazy belongs to call and each, not to %s", st.Op)
	}
	if st.Timeout < 0 {
		c.invalid(st, "the timeout %s is negative", st.Timeout)
	}
	if st.Op != spec.OpSwitch && len(st.Cases) > 0 {
		c.invalid(st, "cases belong to switch, not to %s", st.Op)
	}
	return len(c.faults) == before
}

// call checks a call or an each.
func (c *compiler) call(n *node, from *source) bool {
	st := n.step
	ref, pinned := c.graph.Functions[st.Func]
	if !pinned {
		c.fault(st.Pos, st.Name, functions.ErrNotFound, "function %q%s; deploy it first or correct the name",
			st.Func, didYouMean(st.Func, slices.Collect(maps.Keys(c.graph.Functions))))
		return false
	}
	m := c.fns[st.Func]
	if m == nil {
		return false // pin has told why
	}
	n.ref, n.out, n.stream, n.takes = ref, m.Out, m.Out.Stream, m.In.Stream
	for _, name := range m.Uses.Models {
		n.models = append(n.models, c.graph.Models[name])
	}
	if st.Op == spec.OpEach {
		n.out.Stream = true
		if m.In.Stream {
			c.invalid(st, "each applies a function of one value, and %s takes a stream: use call", st.Func)
			return false
		}
		if m.Out.Stream {
			c.invalid(st, "each applies a function that gives one value, and %s gives a stream", st.Func)
			return false
		}
	}
	if !from.known {
		return true
	}
	switch {
	case st.Op == spec.OpCall && m.In.Stream && !from.port.Stream:
		c.invalid(st, "%s is one value and %s takes a stream: call a function of one value", from.name, st.Func)
	case st.Op == spec.OpCall && from.port.Stream && !m.In.Stream:
		c.invalid(st, "%s is a stream and %s takes one value: use each to apply it to every item, or last for the final item", from.name, st.Func)
	case st.Op == spec.OpEach && !from.port.Stream:
		c.invalid(st, "each needs a stream and %s is one value: use call", from.name)
	default:
		if err := from.port.Schema.AssignableTo(m.In.Schema); err != nil {
			c.fault(st.Pos, st.Name, functions.ErrInvalid, "%s gives %s and %s takes %s: %v",
				from.name, from.port.Schema, st.Func, m.In.Schema, reason(err))
		}
	}
	return true
}

func (c *compiler) last(n *node, from *source) bool {
	if !from.known {
		return false
	}
	if !from.port.Stream {
		c.invalid(n.step, "last needs a stream and %s is one value: use %s itself", from.name, from.name)
		return false
	}
	n.out = functions.Port{Schema: from.port.Schema}
	return true
}

// turns finds the step that opens turns, and which edges an interruption drops: those that carry what belongs to a turn.
func (c *compiler) turns() {
	p := c.plan
	p.drops = make([]bool, p.edges)
	for _, n := range p.steps {
		if m := c.fns[n.step.Func]; m == nil || !m.Turns {
			continue
		}
		if p.opener != nil {
			c.invalid(n.step, "step %s opens turns already, and a chain has one count of turns", p.opener.step.Name)
			continue
		}
		p.opener = n
	}
	p.single = !p.in.Stream && p.opener == nil
	for _, n := range p.steps {
		n.turned = !p.single && (p.opener == nil || c.links.before(n.step.Name)[p.opener.step.Name])
		for _, e := range n.to {
			p.drops[e] = n.turned
		}
	}
	switch c.graph.Spec.Interrupt {
	case "":
	case spec.InterruptOnset:
		if p.opener == nil {
			c.fault(c.graph.Spec.Pos, "", functions.ErrInvalid, "interrupt: %s needs a step whose function opens turns, and there is none", spec.InterruptOnset)
		}
	default:
		c.fault(c.graph.Spec.Pos, "", functions.ErrInvalid, "interrupt: %q is unknown; use %s, or leave it out", c.graph.Spec.Interrupt, spec.InterruptOnset)
	}
}

// sleepers sorts what the calls of b and its branches need: what wakes with the run, and what with its block.
func (c *compiler) sleepers(b *block) {
	lazy := map[*block]*needs{}
	var walk func(*block)
	walk = func(b *block) {
		lazy[b] = &needs{}
		for _, n := range b.nodes {
			switch {
			case n.ref.Name == "":
			case n.step.Lazy:
				lazy[b].add(n.ref, n.models)
			default:
				c.plan.wake.add(n.ref, n.models)
			}
			for _, inner := range n.cases {
				walk(inner)
			}
		}
	}
	walk(b)
	for b, n := range lazy {
		b.lazy = n.without(c.plan.wake)
	}
}
