package chains

import (
	"errors"
	"fmt"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// branches checks a switch and all that is in it.
func (c *compiler) branches(sc *scope, n *node, from *source, depth int) bool {
	st := n.step
	if from.known && from.port.Stream {
		c.invalid(st, "a switch routes one value and %s is a stream: use last for its final item, or route before the stream", from.name)
		from = &source{name: from.name}
	}
	switch {
	case len(st.Cases) == 0:
		c.invalid(st, "the switch has no cases")
		return false
	case len(st.Cases) > maxCases:
		c.invalid(st, "%d cases; the limit is %d", len(st.Cases), maxCases)
		return false
	case st.Cases[len(st.Cases)-1].When != "":
		c.invalid(st, "the switch has no else: add one as the last case, so that every value has a way")
	}
	env, err := newCELEnv(typeOf(from), typeOf(c.inputOf(sc)))
	if err != nil {
		c.invalid(st, "%v", err)
		return false
	}
	n.route = &route{it: typeOf(from), in: typeOf(c.inputOf(sc))}
	known := true
	for i, cs := range st.Cases {
		pos := cs.Pos
		if pos == "" {
			pos = st.Pos
		}
		if cs.When == "" && i < len(st.Cases)-1 {
			c.fault(pos, st.Name, functions.ErrInvalid, "case %d is an else; it must be the last case", i+1)
		}
		if cs.When != "" {
			c.expression(n, env, site{cs, i + 1, pos, cs.When})
		}
		b := &block{}
		n.cases = append(n.cases, b)
		inner := &scope{outer: sc, block: b, values: map[string]*source{}}
		c.steps(inner, cs.Steps, depth+1)
		out, edge := c.read(inner, cs.Out, pos, st.Name, fmt.Sprintf("case %d: out", i+1))
		b.out = edge
		c.held(st, cs, pos)
		switch {
		case !out.known:
			known = false
		case n.out.Schema == nil:
			n.out = out.port
		default:
			if err := samePort(n.out, out.port); err != nil {
				c.fault(pos, st.Name, functions.ErrInvalid, "case %d gives %s and the first gives %s; all cases must give the same: %v",
					i+1, portString(out.port), portString(n.out), reason(err))
			}
		}
	}
	return known && n.out.Schema != nil
}

// expression adds the program of a case to the route of a switch.
func (c *compiler) expression(n *node, env *celEnv, s site) {
	x, faults := env.compile(s.text)
	for _, f := range faults {
		pos, text := s.at(f)
		c.fault(pos, n.step.Name, functions.ErrInvalid, "%s", text)
	}
	if len(faults) == 0 && x.readsIn && c.plan.in.Stream {
		c.fault(s.pos, n.step.Name, functions.ErrInvalid, "case %d: expression %s reads in, and the chain's input is a stream; read what a step makes of it", s.nth, quote(s.text))
		return
	}
	if len(faults) == 0 {
		x.site = s
		n.route.exprs = append(n.route.exprs, x)
	}
}

// typeOf returns the type of v: any, if there was a fault.
func typeOf(v *source) *functions.Schema {
	if !v.known {
		return &functions.Schema{}
	}
	return v.port.Schema
}

// inputOf returns the chain's input, which only the outermost scope declares.
func (c *compiler) inputOf(sc *scope) *source {
	for sc.outer != nil {
		sc = sc.outer
	}
	return sc.values[spec.Input]
}

// samePort returns nil if a and b carry the same type in the same way.
func samePort(a, b functions.Port) error {
	if a.Stream != b.Stream {
		return errors.New("one is a stream, the other is one value")
	}
	if err := b.Schema.AssignableTo(a.Schema); err != nil {
		return err
	}
	return a.Schema.AssignableTo(b.Schema)
}

func portString(p functions.Port) string {
	if p.Stream {
		return "a stream of " + p.Schema.String()
	}
	return p.Schema.String()
}
