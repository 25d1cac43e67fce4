package sdk

import (
	"cmp"
	"reflect"
	"strings"

	"github.com/catenary-run/catenary/chains/spec"
)

// Case is one arm of a [Switch]: a [When] or the [Else].
type Case[O any] struct {
	when   string
	isElse bool
	body   func() Val[O]
	pos    string
}

// When is the arm that is taken if the CEL expression holds and none before it did. In the expression, it is the routed
// value and in is the chain's input. Body adds the steps of the branch, if it needs any, and returns what it yields.
func When[O any](expression string, body func() Val[O]) Case[O] {
	return Case[O]{when: strings.TrimSpace(expression), body: body, pos: caller()}
}

// Else is the arm that is taken if no other one was. Every Switch ends with one.
func Else[O any](body func() Val[O]) Case[O] { return Case[O]{isElse: true, body: body, pos: caller()} }

// Switch adds a step that routes one value: it yields what the body of the first case that holds yields. The step's
// name is route; a second one in a chain is made with [SwitchAs]. A stream can't be routed, but a branch may yield one.
func Switch[T, O any](s *Steps, on Val[T], cases ...Case[O]) Val[O] {
	_, stream := elem(reflect.TypeFor[T]())
	return Val[O]{from: route(s, caller(), "route", on.from, stream, cases)}
}

// SwitchAs is [Switch] with a name for the step.
func SwitchAs[T, O any](s *Steps, name string, on Val[T], cases ...Case[O]) Val[O] {
	_, stream := elem(reflect.TypeFor[T]())
	return Val[O]{from: route(s, caller(), name, on.from, stream, cases)}
}

func route[O any](s *Steps, pos, name string, on *source, stream bool, cases []Case[O]) *source {
	s.open(pos)
	st := spec.Step{Name: name, Op: spec.OpSwitch, Pos: pos}
	s.claim(name, pos, "name this one with sdk.SwitchAs")
	if stream {
		s.fault(pos, "switch %q routes a stream; route one value: what sdk.Last gives, or a value before the stream", name)
	}
	st.From = s.use(on, pos, "what switch "+name+" routes")
	for i, c := range cases {
		if c.body == nil {
			s.fault(cmp.Or(c.pos, pos), "case %d of switch %q has no body", i+1, name)
			continue
		}
		switch {
		case !c.isElse && c.when == "":
			s.fault(c.pos, "case %d of switch %q has an empty expression; use sdk.Else for the rest", i+1, name)
		case c.isElse && i < len(cases)-1:
			s.fault(c.pos, "switch %q goes on after its Else; put the Else last, and only once", name)
		}
		st.Cases = append(st.Cases, branch(s, name, c))
	}
	if n := len(cases); n == 0 || !cases[n-1].isElse {
		s.fault(pos, "switch %q has no Else at its end; say what happens to the rest", name)
	}
	return s.add(st)
}

// branch records the body of a case.
func branch[O any](s *Steps, name string, c Case[O]) spec.Case {
	inner := &block{outer: s.now, route: name}
	s.now = inner
	defer func() { s.now = inner.outer }()
	out := s.use(c.body().from, c.pos, "what the branch yields")
	return spec.Case{When: c.when, Steps: inner.steps, Out: out, Pos: c.pos}
}
