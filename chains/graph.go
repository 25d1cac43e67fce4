package chains

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// maxGraphBytes bounds what ParseGraph reads: far more than the largest chain that Compile accepts.
const maxGraphBytes = 4 << 20

// Graph is a chain with all that it names pinned to versions.
type Graph struct {
	Spec spec.Chain `json:"spec"`
	// Functions pins each function that a step calls, by its name.
	Functions map[string]functions.Ref `json:"functions"`
	// Models pins each model that one of the functions uses, by its name.
	Models map[string]functions.Ref `json:"models,omitempty"`
}

// NewGraph pins what s names to the given versions: fns by function name, models by model name. Its error joins all
// faults; an unknown name wraps [functions.ErrNotFound] and says where it stands and what to do.
func NewGraph(s spec.Chain, fns map[string]*functions.Manifest, models map[string]*functions.Model) (*Graph, error) {
	g := &Graph{Spec: s, Functions: map[string]functions.Ref{}, Models: map[string]functions.Ref{}}
	var faults []error
	s.Walk(func(st spec.Step) {
		if st.Func == "" {
			return // Compile says what is wrong with it, if it is a call
		}
		m := fns[st.Func]
		if m == nil {
			faults = append(faults, fmt.Errorf("%sstep %s: %w: function %q%s; deploy it first or correct the name",
				at(st.Pos), st.Name, functions.ErrNotFound, st.Func, didYouMean(st.Func, slices.Collect(maps.Keys(fns)))))
			return
		}
		if _, done := g.Functions[st.Func]; done {
			return
		}
		g.Functions[st.Func] = m.Ref()
		for _, name := range m.Uses.Models {
			if models[name] == nil {
				faults = append(faults, fmt.Errorf("%sstep %s: %w: model %q, which function %s uses%s; deploy the model first",
					at(st.Pos), st.Name, functions.ErrNotFound, name, m.Name, didYouMean(name, slices.Collect(maps.Keys(models)))))
				continue
			}
			g.Models[name] = models[name].Ref()
		}
	})
	if len(faults) > 0 {
		return nil, fmt.Errorf("chain %s: %w", s.Name, errors.Join(faults...))
	}
	return g, nil
}

// Canonical returns the graph as JSON without positions: equal for equal graphs.
func (g *Graph) Canonical() []byte {
	b, err := json.Marshal(g)
	if err != nil {
		panic("chains: " + err.Error()) // plain data only
	}
	return b
}

// Hash returns the graph hash: the digest of the canonical form, and so of the spec and of all versions it is pinned
// to. It is also the digest under which a catalogue keeps the record.
func (g *Graph) Hash() functions.Digest { return functions.DigestOf(g.Canonical()) }

// ParseGraph reads a canonical form. It checks that it is one; [Compile] checks what it says.
func ParseGraph(b []byte) (*Graph, error) {
	if len(b) > maxGraphBytes {
		return nil, fmt.Errorf("%w: a graph of %d bytes; the limit is %d", functions.ErrInvalid, len(b), maxGraphBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var g Graph
	if err := dec.Decode(&g); err != nil {
		return nil, fmt.Errorf("%w: graph: %w", functions.ErrInvalid, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: graph: more follows after its end", functions.ErrInvalid)
	}
	for what, refs := range map[string]map[string]functions.Ref{"function": g.Functions, "model": g.Models} {
		for name, ref := range refs {
			if ref.Name != name {
				return nil, fmt.Errorf("%w: graph: %s %q is pinned to %q", functions.ErrInvalid, what, name, ref.Name)
			}
			if _, err := functions.ParseDigest(string(ref.Digest)); err != nil {
				return nil, fmt.Errorf("graph: %s %q: %w", what, name, err)
			}
		}
	}
	return &g, nil
}

// at returns the position as the beginning of a message.
func at(pos string) string {
	if pos == "" {
		return ""
	}
	return pos + ": "
}
