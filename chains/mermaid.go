package chains

import (
	"fmt"
	"strings"

	"github.com/catenary-run/catenary/chains/spec"
)

// Mermaid returns the chain as a Mermaid flowchart: steps as boxes, switches as diamonds with their conditions on the
// arrows that leave them. What reads a switch is drawn behind the steps that its branches end with. A chain that
// Compile would refuse is drawn as far as it makes sense.
func Mermaid(c spec.Chain) string {
	d := &diagram{ids: map[string]string{spec.Input: "in"}, steps: map[string]spec.Step{}}
	d.line("flowchart LR")
	d.line(`  in(["in"])`)
	c.Walk(func(st spec.Step) {
		if _, twice := d.ids[st.Name]; !twice {
			d.ids[st.Name] = fmt.Sprintf("s%d", len(d.ids))
			d.steps[st.Name] = st
			d.box(d.ids[st.Name], st)
		}
	})
	d.line(`  out(["out"])`)
	d.arrows(c.Steps, nil)
	d.join(c.Out, "out", nil, map[string]bool{})
	return d.b.String()
}

// diagram draws one chain.
type diagram struct {
	b     strings.Builder
	ids   map[string]string // of nodes, by step: names such as end mean something to Mermaid
	steps map[string]spec.Step
}

// entry is the way into a branch: the diamond and the condition.
type entry struct {
	id, label string
	inside    map[string]bool // the steps of the branch
}

func (d *diagram) line(s string) {
	d.b.WriteString(s)
	d.b.WriteByte('\n')
}

func (d *diagram) box(id string, st spec.Step) {
	label := st.Name
	if st.Func != "" && st.Func != st.Name {
		label += ": " + st.Func
	}
	if st.Op == spec.OpEach || st.Op == spec.OpLast {
		label += " (" + string(st.Op) + ")"
	}
	shape := [2]string{"[", "]"}
	switch st.Op {
	case spec.OpSwitch:
		shape = [2]string{"{", "}"}
	case spec.OpEach:
		shape = [2]string{"[[", "]]"}
	}
	d.line("  " + id + shape[0] + `"` + escape(label) + `"` + shape[1])
}

// arrows draws what the steps of a block read. In a branch, what comes from around it comes by the diamond.
func (d *diagram) arrows(steps []spec.Step, in *entry) {
	for _, st := range steps {
		d.join(st.From, d.ids[st.Name], in, map[string]bool{})
		for i, cs := range st.Cases {
			d.arrows(cs.Steps, d.entry(st, i, cs))
		}
	}
}

// join draws arrows from where the value name comes from to the node to. Seen holds the switches that it has gone
// through: in a chain that Compile accepts it meets none twice.
func (d *diagram) join(name, to string, in *entry, seen map[string]bool) {
	if in != nil && !in.inside[name] {
		d.line(fmt.Sprintf(`  %s -->|"%s"| %s`, in.id, escape(in.label), to))
		return
	}
	st := d.steps[name]
	if st.Op != spec.OpSwitch || seen[name] {
		if id, ok := d.ids[name]; ok {
			d.line(fmt.Sprintf("  %s --> %s", id, to))
		}
		return
	}
	seen[name] = true
	for i, cs := range st.Cases {
		d.join(cs.Out, to, d.entry(st, i, cs), seen)
	}
}

func (d *diagram) entry(st spec.Step, i int, cs spec.Case) *entry {
	e := &entry{id: d.ids[st.Name], label: cs.When, inside: map[string]bool{}}
	spec.Chain{Steps: cs.Steps}.Walk(func(inner spec.Step) { e.inside[inner.Name] = true })
	switch {
	case cs.When == "":
		e.label = "else"
	case len(cs.When) > 60: // would make the drawing hard to read
		e.label = fmt.Sprintf("case %d", i+1)
	}
	return e
}

// escape writes what Mermaid or HTML would read as more than text as character references, #34; and the like.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < ' ' || strings.ContainsRune("\"#<>&`|\\;", r) {
			fmt.Fprintf(&b, "#%d;", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
