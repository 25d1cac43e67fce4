package sdk

import (
	"fmt"
	"reflect"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// Chain is a chain whose wiring is sound. The zero value is not usable; [Define] makes one.
type Chain[I, O any] struct {
	_       [0]func(I) O // no conversion from a Chain of other types
	spec    spec.Chain
	in, out functions.Port
	uses    []FuncDescription
}

// Define runs build once, to record the steps that it adds, and returns them as a chain. Its error joins all faults of
// wiring, scopes and names, each with the place in the source, and wraps functions.ErrInvalid. What only the functions
// themselves can tell, CEL expressions and manifests, is checked by sdktest and at deploy.
func Define[I, O any](name string, build func(*Steps, Val[I]) Val[O]) (Chain[I, O], error) {
	return define(caller(), name, build)
}

// MustDefine is [Define] for chains in package variables: it panics where Define returns an error.
func MustDefine[I, O any](name string, build func(*Steps, Val[I]) Val[O]) Chain[I, O] {
	c, err := define(caller(), name, build)
	if err != nil {
		panic("sdk: " + err.Error())
	}
	return c
}

func define[I, O any](pos, name string, build func(*Steps, Val[I]) Val[O]) (Chain[I, O], error) {
	top := &block{}
	s := &Steps{name: name, now: top, taken: map[string]string{}}
	if err := functions.CheckName("chain", name); err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s: %w", pos, err))
	}
	c := Chain[I, O]{in: s.side(pos, "input", reflect.TypeFor[I]()), out: s.side(pos, "output", reflect.TypeFor[O]())}
	if build == nil {
		s.fault(pos, "the func that adds the steps is nil")
		return Chain[I, O]{}, s.err()
	}
	result := build(s, Val[I]{from: &source{steps: s, block: top, name: spec.Input}})
	s.done = true
	c.spec = spec.Chain{
		Name: name, Steps: top.steps, Out: s.use(result.from, pos, "the chain's output"),
		Interrupt: s.interrupt, Priority: s.priority, Pos: pos,
	}
	if len(top.steps) == 0 {
		s.fault(pos, "the chain has no steps")
	}
	for _, st := range c.spec.Unread() {
		s.fault(st.Pos, "%s", spec.UnreadFault(st))
	}
	if err := s.err(); err != nil {
		return Chain[I, O]{}, err
	}
	c.uses = s.contracts
	return c, nil
}

// Name returns the chain's name.
func (c Chain[I, O]) Name() string { return c.spec.Name }

// Spec returns the chain as data. It shares its slices with c and must not be changed.
func (c Chain[I, O]) Spec() spec.Chain { return c.spec }

// Ports returns the chain's sides with their schemas. It returns an error for a chain that Define did not make.
func (c Chain[I, O]) Ports() (in, out functions.Port, err error) {
	if c.spec.Name == "" {
		return in, out, fmt.Errorf("%w: the chain was not made by sdk.Define", functions.ErrInvalid)
	}
	return c.in, c.out, nil
}

// Describe returns what the build has to know of the chain.
func (c Chain[I, O]) Describe() (ChainDescription, error) {
	_, _, err := c.Ports()
	return ChainDescription{Spec: c.spec, Positions: c.spec.Positions(), Uses: c.uses}, err
}
