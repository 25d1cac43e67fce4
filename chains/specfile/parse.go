package specfile

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"github.com/catenary-run/catenary/chains/spec"
)

const (
	maxBytes  = 1 << 20 // of a file
	maxDepth  = 100     // of its nesting: a switch inside a switch takes four
	maxFaults = 50      // that are told of one file
)

// Parse reads a chain from YAML. The filename is for positions only. Its error joins all faults, each a [*Fault].
func Parse(filename string, data []byte) (spec.Chain, error) {
	p := &parser{file: filename}
	root := p.load(data)
	var c spec.Chain
	if root != nil {
		c = p.chain(root)
	}
	if len(p.faults) > 0 {
		return spec.Chain{}, p.err()
	}
	return c, nil
}

// parser reads one file. A fault does not stop it; what it returns counts only if there was none.
type parser struct {
	file   string
	lines  []string
	faults []*Fault
}

func (p *parser) load(data []byte) *yaml.Node {
	if len(data) > maxBytes {
		p.faultAt(1, 1, "the file has %d bytes; the limit is %d", len(data), maxBytes)
		return nil
	}
	p.lines = linesOf(data)
	loader, err := yaml.NewLoader(bytes.NewReader(data),
		yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth), loaderlimits.AliasValue(0))))
	if err != nil {
		p.syntax(err)
		return nil
	}
	var doc, second yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		p.faultAt(1, 1, "the file is empty; begin with chain: NAME")
		return nil
	case err != nil:
		p.syntax(err)
		return nil
	}
	switch err := loader.Load(&second); {
	case err == nil:
		p.fault(&second, "a second document begins; a file has one chain")
		return nil
	case !errors.Is(err, io.EOF):
		p.syntax(err)
		return nil
	}
	before := len(p.faults)
	p.plain(doc.Content[0])
	if len(p.faults) > before {
		return nil
	}
	return doc.Content[0]
}

// plain refuses what makes a file say other things than it seems to: anchors, aliases and tags.
func (p *parser) plain(n *yaml.Node) {
	switch {
	case n.Kind == yaml.AliasNode:
		p.fault(n, "an alias (*%s); write it out", cut(n.Value))
		return
	case n.Anchor != "":
		p.fault(n, "an anchor (&%s); write it out", cut(n.Anchor))
	case n.Style&yaml.TaggedStyle != 0:
		p.fault(n, "a tag (%s); leave it out", cut(n.Tag))
	}
	for _, inner := range n.Content {
		p.plain(inner)
	}
}

// fields is a mapping by key, in a form that tells which keys are there.
type fields struct {
	p    *parser
	node *yaml.Node
	keys map[string]*yaml.Node
	vals map[string]*yaml.Node
}

// mapping reads n. What says what n is, for people; known are the keys that it may have.
func (p *parser) mapping(n *yaml.Node, what string, known ...string) fields {
	f := fields{p, n, map[string]*yaml.Node{}, map[string]*yaml.Node{}}
	if n.Kind != yaml.MappingNode {
		p.fault(n, "%s is a mapping of keys to values, not %s", what, kindOf(n))
		return f
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			p.fault(key, "a key is a word, not %s", kindOf(key))
		case f.keys[key.Value] != nil:
			p.fault(key, "key %q stands twice, first at line %d", cut(key.Value), f.keys[key.Value].Line)
		case !slices.Contains(known, key.Value):
			p.fault(key, "unknown key %q; %s has %s", cut(key.Value), what, strings.Join(known, ", "))
		default:
			f.keys[key.Value], f.vals[key.Value] = key, n.Content[i+1]
		}
	}
	return f
}

func (f fields) has(key string) bool { return f.keys[key] != nil }

// text returns the words of a scalar as they are written, or "" if the key is not there.
func (f fields) text(key string) string {
	n := f.vals[key]
	switch {
	case n == nil:
		return ""
	case n.Kind != yaml.ScalarNode:
		f.p.fault(n, "%s is text, not %s", key, kindOf(n))
		return ""
	case n.ShortTag() == "!!null" || strings.TrimSpace(n.Value) == "":
		f.p.fault(f.keys[key], "%s is empty", key)
		return ""
	}
	return strings.TrimSpace(n.Value)
}

func (f fields) list(key string) []*yaml.Node {
	n := f.vals[key]
	switch {
	case n == nil:
		return nil
	case n.Kind != yaml.SequenceNode:
		f.p.fault(n, "%s is a list, not %s", key, kindOf(n))
		return nil
	case len(n.Content) == 0:
		f.p.fault(n, "%s is empty", key)
	}
	return n.Content
}

func (f fields) duration(key string) time.Duration {
	text := f.text(key)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		f.p.fault(f.vals[key], "%s: %q is not a duration; write it like 5s or 250ms", key, cut(text))
	case d <= 0:
		f.p.fault(f.vals[key], "%s: %s is not positive; leave it out if there is none", key, cut(text))
	}
	return d
}

func (f fields) flag(key string) bool {
	text := f.text(key)
	if text != "" && text != "true" && text != "false" {
		f.p.fault(f.vals[key], "%s is true or false, not %q", key, cut(text))
	}
	return text == "true"
}

func (p *parser) pos(n *yaml.Node) string { return position(p.file, n.Line, n.Column) }

func (p *parser) chain(n *yaml.Node) spec.Chain {
	f := p.mapping(n, "a chain", "chain", "interrupt", "priority", "steps", "out")
	for _, key := range []string{"chain", "steps"} {
		if n.Kind == yaml.MappingNode && !f.has(key) {
			p.fault(n, "%s: is missing", key)
		}
	}
	c := spec.Chain{Name: f.text("chain"), Out: f.text("out"), Interrupt: f.text("interrupt"), Priority: f.text("priority"), Pos: p.pos(n)}
	c.Steps = p.steps(f.list("steps"), spec.Input)
	if !f.has("out") && len(c.Steps) > 0 {
		c.Out = c.Steps[len(c.Steps)-1].Name
	}
	return c
}

// steps reads a list of steps. From is what the first one reads by default.
func (p *parser) steps(list []*yaml.Node, from string) []spec.Step {
	var steps []spec.Step
	for _, n := range list {
		st, ok := p.step(n, from)
		if ok {
			steps = append(steps, st)
			from = st.Name
		}
	}
	return steps
}

var verbs = []string{string(spec.OpCall), string(spec.OpEach), string(spec.OpLast), string(spec.OpSwitch)}

// step reads one step. Which keys it may have depends on its verb, so that is found first.
func (p *parser) step(n *yaml.Node, from string) (spec.Step, bool) {
	verb := ""
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if !slices.Contains(verbs, key) || key == verb {
			continue
		}
		if verb != "" {
			p.fault(n.Content[i], "a step is one thing: it is %s already, so it can't be %s", verb, key)
			return spec.Step{}, false
		}
		verb = key
	}
	st := spec.Step{Op: spec.Op(verb), Pos: p.pos(n)}
	switch st.Op {
	case spec.OpCall, spec.OpEach:
		f := p.mapping(n, "a step with "+verb, verb, "name", "from", "timeout", "lazy")
		st.Func = f.text(verb)
		st.Name = orDefault(f.text("name"), st.Func)
		st.From = orDefault(f.text("from"), from)
		st.Timeout = f.duration("timeout")
		st.Lazy = f.flag("lazy")
	case spec.OpLast:
		f := p.mapping(n, "a step with last", verb, "name")
		st.From = f.text(verb)
		st.Name = orDefault(f.text("name"), defaultLast)
	case spec.OpSwitch:
		f := p.mapping(n, "a step with switch", verb, "name", "cases")
		st.From = f.text(verb)
		st.Name = orDefault(f.text("name"), defaultSwitch)
		if !f.has("cases") {
			p.fault(n, "cases: is missing")
		}
		cases := f.list("cases")
		for i, cs := range cases {
			st.Cases = append(st.Cases, p.switchCase(cs, st.From, i == len(cases)-1))
		}
	default:
		// A key that no step has is a verb that was misspelt, more often than not.
		known := len(p.faults)
		p.mapping(n, "a step", append(verbs, "name", "from", "timeout", "lazy", "cases")...)
		if len(p.faults) == known {
			p.fault(n, "a step needs one of %s", strings.Join(verbs, ", "))
		}
		return st, false
	}
	return st, true
}

// Names of steps that call no function.
const (
	defaultLast   = "last"
	defaultSwitch = "route"
)

func (p *parser) switchCase(n *yaml.Node, from string, last bool) spec.Case {
	f := p.mapping(n, "a case", "when", "else", "steps", "out")
	cs := spec.Case{When: f.text("when"), Out: f.text("out"), Pos: p.pos(n)}
	switch {
	case n.Kind != yaml.MappingNode:
		return cs
	case f.has("when") && f.has("else"):
		p.fault(f.keys["else"], "a case has when or else, not both")
	case f.has("else"):
		cs.Pos = p.pos(f.keys["else"])
		if v := f.vals["else"]; v.Kind != yaml.ScalarNode || v.ShortTag() != "!!null" {
			p.fault(v, "nothing comes after else:; its steps stand below it, in steps:")
		}
		if !last {
			p.fault(f.keys["else"], "else is the last case; no case comes after it")
		}
	case f.has("when"):
		cs.Pos, cs.Places = p.pos(f.vals["when"]), p.places(f.vals["when"], n)
		if last {
			p.fault(n, "the last case needs else: instead of when:, so that every value has a way")
		}
	default:
		p.fault(n, "a case needs when: EXPRESSION, or else: if it is the last")
	}
	cs.Steps = p.steps(f.list("steps"), from)
	switch {
	case f.has("out"):
	case len(cs.Steps) > 0:
		cs.Out = cs.Steps[len(cs.Steps)-1].Name
	case !f.has("steps"):
		p.fault(n, "a case without steps needs out: STEP, a step from around the switch or %s", spec.Input)
	}
	return cs
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if n.ShortTag() == "!!null" {
			return "nothing"
		}
		return `"` + cut(n.Value) + `"`
	}
	return "something else"
}
