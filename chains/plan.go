package chains

import (
	"maps"
	"slices"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// Plan is a graph that has been checked and can run. It is immutable; many runs may use it at once.
type Plan struct {
	graph   *Graph
	hash    functions.Digest
	in, out functions.Port

	top   *block  // the steps outside all branches; its edges include those that the chain's input feeds
	steps []*node // every step, in the order in which they are written
	feed  []int   // the edges that the chain's input feeds
	edges int     // how many edges there are in all
	drops []bool  // by edge: an interruption drops what it carries
	wake  needs

	opener *node // opens turns; nil if no step does, and then the caller's items say which turn it is
	single bool  // there is one turn, and it is all of the run
}

// block is a list of steps that start together: the chain's own, or those of a branch.
type block struct {
	nodes []*node
	edges []int // that these steps, not those of inner branches, write
	outer []int // that the block reads from around it: given up if the branch is not taken
	out   int   // the edge by which its output leaves
	lazy  needs // what sleeps until the block begins
}

// node is a step as it runs. Edges are numbers: a run makes a stream for each.
type node struct {
	step   spec.Step
	index  int           // in Plan.steps
	ref    functions.Ref // of a call and an each: what they call
	models []functions.Ref
	out    functions.Port
	takes  bool  // one call takes all items of a stream
	stream bool  // one call may give any number of items
	turned bool  // it works on turns, so that an interruption reaches it
	from   int   // the edge that it reads
	to     []int // the edges that it writes: one for each reader
	route  *route
	cases  []*block // of a switch: one for each case of route
}

// needs is a set of functions and models.
type needs struct{ fns, models map[string]functions.Ref }

func (n *needs) add(fn functions.Ref, models []functions.Ref) {
	if n.fns == nil {
		n.fns, n.models = map[string]functions.Ref{}, map[string]functions.Ref{}
	}
	n.fns[fn.Name] = fn
	for _, m := range models {
		n.models[m.Name] = m
	}
}

// without returns what is in n and not in other.
func (n needs) without(other needs) needs {
	rest := needs{maps.Clone(n.fns), maps.Clone(n.models)}
	for name := range other.fns {
		delete(rest.fns, name)
	}
	for name := range other.models {
		delete(rest.models, name)
	}
	return rest
}

func (n needs) empty() bool { return len(n.fns)+len(n.models) == 0 }

// Graph returns what the plan was compiled from. It must not be changed.
func (p *Plan) Graph() *Graph { return p.graph }

// Hash returns the graph hash.
func (p *Plan) Hash() functions.Digest { return p.hash }

// In returns the type of the chain's input.
func (p *Plan) In() functions.Port { return p.in }

// Out returns the type of the chain's output.
func (p *Plan) Out() functions.Port { return p.out }

// Functions returns every function that a run can reach, sorted by name.
func (p *Plan) Functions() []functions.Ref { return sorted(p.graph.Functions) }

// Models returns every model that a run can reach, sorted by name.
func (p *Plan) Models() []functions.Ref { return sorted(p.graph.Models) }

// WakeSet returns what wakes when a run begins, sorted by name: all that it can reach but for what only lazy steps
// need.
func (p *Plan) WakeSet() (fns, models []functions.Ref) {
	return sorted(p.wake.fns), sorted(p.wake.models)
}

// Steps returns the names of all steps, in the order in which they are written.
func (p *Plan) Steps() []string {
	names := make([]string, len(p.steps))
	for i, n := range p.steps {
		names[i] = n.step.Name
	}
	return names
}

// StepOut returns the type of a step's output; ok is false if there is no such step.
func (p *Plan) StepOut(step string) (out functions.Port, ok bool) {
	for _, n := range p.steps {
		if n.step.Name == step {
			return n.out, true
		}
	}
	return functions.Port{}, false
}

func sorted(m map[string]functions.Ref) []functions.Ref {
	out := make([]functions.Ref, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[name])
	}
	return out
}
