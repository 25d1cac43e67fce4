package specfile

import (
	"strconv"

	"go.yaml.in/yaml/v4"

	"github.com/catenary-run/catenary/chains/spec"
)

// Format returns c as YAML, without what is a default. If package chains accepts c, Parse of the text gives a chain of
// the same hash.
func Format(c spec.Chain) []byte {
	root := node(yaml.MappingNode)
	put(root, "chain", text(c.Name))
	if c.Interrupt != "" {
		put(root, "interrupt", text(c.Interrupt))
	}
	if c.Priority != "" {
		put(root, "priority", text(c.Priority))
	}
	put(root, "steps", steps(c.Steps, spec.Input))
	if len(c.Steps) == 0 || c.Out != c.Steps[len(c.Steps)-1].Name {
		put(root, "out", text(c.Out))
	}
	b, err := yaml.Dump(root, yaml.WithIndent(2), yaml.WithCompactSeqIndent(false), yaml.WithLineWidth(-1))
	if err != nil {
		panic("specfile: " + err.Error()) // a tree of plain text
	}
	return b
}

func steps(list []spec.Step, from string) *yaml.Node {
	seq := node(yaml.SequenceNode)
	for _, st := range list {
		seq.Content = append(seq.Content, step(st, from))
		from = st.Name
	}
	return seq
}

func step(st spec.Step, from string) *yaml.Node {
	m := node(yaml.MappingNode)
	verb := string(st.Op)
	switch st.Op {
	case spec.OpLast, spec.OpSwitch:
		put(m, verb, text(st.From))
		if st.Name != map[spec.Op]string{spec.OpLast: defaultLast, spec.OpSwitch: defaultSwitch}[st.Op] {
			put(m, "name", text(st.Name))
		}
	default:
		put(m, verb, text(st.Func))
		if st.Name != st.Func {
			put(m, "name", text(st.Name))
		}
		if st.From != from {
			put(m, "from", text(st.From))
		}
	}
	if st.Timeout != 0 {
		put(m, "timeout", text(st.Timeout.String()))
	}
	if st.Lazy {
		put(m, "lazy", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(true)})
	}
	if st.Op == spec.OpSwitch {
		cases := node(yaml.SequenceNode)
		for _, cs := range st.Cases {
			cases.Content = append(cases.Content, switchCase(cs, st.From))
		}
		put(m, "cases", cases)
	}
	return m
}

func switchCase(cs spec.Case, from string) *yaml.Node {
	m := node(yaml.MappingNode)
	if cs.When != "" {
		put(m, "when", text(cs.When))
	} else {
		put(m, "else", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"})
	}
	if len(cs.Steps) > 0 {
		put(m, "steps", steps(cs.Steps, from))
	}
	if len(cs.Steps) == 0 || cs.Out != cs.Steps[len(cs.Steps)-1].Name {
		put(m, "out", text(cs.Out))
	}
	return m
}

func node(kind yaml.Kind) *yaml.Node { return &yaml.Node{Kind: kind} }

func text(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

func put(m *yaml.Node, key string, value *yaml.Node) { m.Content = append(m.Content, text(key), value) }
