package chains

import (
	"github.com/catenary-run/catenary/functions"
)

// Plan is a graph that has been checked and can run. It is immutable; many runs may use it at once.
type Plan struct {
	graph   *Graph
	hash    functions.Digest
	in, out functions.Port
}

// Compile checks g against the manifests of its functions, by name. Its error joins all faults, each with its position.
func Compile(g *Graph, manifests map[string]*functions.Manifest) (*Plan, error) {
	panic("chains: Compile is not written yet")
}

// Graph returns what the plan was compiled from. It must not be changed.
func (p *Plan) Graph() *Graph { return p.graph }

// Hash returns the graph hash.
func (p *Plan) Hash() functions.Digest { return p.hash }

// In returns the type of the chain's input. It is never a stream.
func (p *Plan) In() functions.Port { return p.in }

// Out returns the type of the chain's output.
func (p *Plan) Out() functions.Port { return p.out }

// Functions returns every function that a run can reach, sorted by name.
func (p *Plan) Functions() []functions.Ref { return refs(p.graph.Functions) }

// Models returns every model that a run can reach, sorted by name.
func (p *Plan) Models() []functions.Ref { return refs(p.graph.Models) }

// WakeSet returns what wakes when a run begins: all but what only lazy steps need.
func (p *Plan) WakeSet() (fns, models []functions.Ref) {
	panic("chains: WakeSet is not written yet")
}
