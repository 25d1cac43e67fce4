package sdk

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// Steps records a chain while the func given to [Define] runs, and no longer. It is for one goroutine.
type Steps struct {
	name   string
	now    *block            // that steps are added to
	taken  map[string]string // positions by step name
	faults []error
	done   bool

	interrupt string // spec.Chain.Interrupt
	priority  string // spec.Chain.Priority

	contracts []FuncDescription // of the functions, each once, in the order of their first use
}

func (s *Steps) fault(pos, format string, args ...any) {
	s.faults = append(s.faults, fmt.Errorf("%s: %w: "+format, append([]any{pos, functions.ErrInvalid}, args...)...))
}

// caller returns the place that called the caller of this func, as folder/file.go:line: what names it for people
// without telling where the sources are.
func caller() string {
	_, file, line, ok := runtime.Caller(2)
	if !ok {
		return "unknown place"
	}
	return fmt.Sprintf("%s/%s:%d", filepath.Base(filepath.Dir(file)), filepath.Base(file), line)
}

// open makes sure that a chain is being defined.
func (s *Steps) open(pos string) {
	switch {
	case s == nil:
		panic(fmt.Sprintf("sdk: %s: the *Steps is nil; use the one that Define passes", pos))
	case s.done:
		panic(fmt.Sprintf("sdk: %s: a step is added to chain %s after its Define has returned", pos, s.name))
	}
}

// InterruptOnOnset makes every new turn interrupt the one before: when the function that opens turns hears the caller
// begin to speak, all that was still to come of the last answer is dropped. Without it only the caller interrupts.
func (s *Steps) InterruptOnOnset() {
	s.open(caller())
	s.interrupt = spec.InterruptOnset
}

// Interactive says that somebody waits for each word of the chain: before models its calls are more urgent than those of
// chains that say nothing.
func (s *Steps) Interactive() {
	s.open(caller())
	s.priority = spec.PriorityInteractive
}

// Batch says that nobody waits for the chain: before models its calls are less urgent than those of other chains.
func (s *Steps) Batch() {
	s.open(caller())
	s.priority = spec.PriorityBatch
}

// claim takes the name for the step at pos. Rename says how to give it another one.
func (s *Steps) claim(name, pos, rename string) {
	if err := functions.CheckName("step", name); err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s: %w", pos, err))
		return
	}
	if name == spec.Input {
		s.fault(pos, "step name %q is that of the chain's input; %s", name, rename)
		return
	}
	if first, twice := s.taken[name]; twice {
		s.fault(pos, "there is a step %q already, at %s; %s", name, first, rename)
		return
	}
	s.taken[name] = pos
}

// add appends st to the block that is being written.
func (s *Steps) add(st spec.Step) *source {
	s.now.steps = append(s.now.steps, st)
	return &source{steps: s, block: s.now, name: st.Name}
}

// Call adds a step that applies f to in, and returns what it will yield.
func Call[I, O any](s *Steps, f Func[I, O], in Val[I], options ...Option) Val[O] {
	return Val[O]{from: s.apply(caller(), spec.OpCall, f.name, f.Describe, in.from, options)}
}

// Each adds a step that applies f, a function of one value that gives one value, to every item of a stream, in order.
func Each[I, O any](s *Steps, f Func[I, O], in Val[Stream[I]], options ...Option) Val[Stream[O]] {
	return Val[Stream[O]]{from: s.apply(caller(), spec.OpEach, f.name, f.Describe, in.from, options)}
}

// apply adds a step that calls a function.
func (s *Steps) apply(pos string, op spec.Op, fn string, describe func() (FuncDescription, error), in *source, options []Option) *source {
	s.open(pos)
	st := spec.Step{Name: fn, Op: op, Func: fn, Pos: pos}
	if err := functions.CheckName("function", fn); err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s: %w", pos, err))
	} else if contract, err := describe(); err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s: %w", pos, err))
	} else if op == spec.OpEach && contract.In.Stream {
		s.fault(pos, "function %s takes a stream; sdk.Each needs one that takes one value: use sdk.Call", fn)
	} else if op == spec.OpEach && contract.Out.Stream {
		s.fault(pos, "function %s gives a stream for each value; sdk.Each needs one that gives one value", fn)
	} else {
		s.contract(pos, contract)
	}
	for _, o := range options {
		if o != nil {
			o.apply(&st, func(format string, args ...any) { s.fault(pos, format, args...) })
		}
	}
	if st.Name != fn || functions.CheckName("function", fn) == nil { // a wrong name of a function is one fault
		s.claim(st.Name, pos, "name this one with sdk.As")
	}
	st.From = s.use(in, pos, "the input of step "+st.Name)
	return s.add(st)
}

// contract keeps what the chain takes a function to be. All its uses must agree.
func (s *Steps) contract(pos string, c FuncDescription) {
	i := slices.IndexFunc(s.contracts, func(known FuncDescription) bool { return known.Name == c.Name })
	switch {
	case i < 0:
		s.contracts = append(s.contracts, c)
	case !reflect.DeepEqual(s.contracts[i], c):
		s.fault(pos, "function %s has other types here than where the chain used it before; share one handle", c.Name)
	}
}

// Last adds a step that waits for the end of a stream and yields its final item. An empty stream fails the run. Its
// name is last unless it is given another one.
func Last[T any](s *Steps, in Val[Stream[T]], name ...Name) Val[T] {
	pos := caller()
	s.open(pos)
	st := spec.Step{Name: "last", Op: spec.OpLast, Pos: pos}
	for _, n := range name {
		st.Name = string(n)
	}
	s.claim(st.Name, pos, "name this one with sdk.As")
	st.From = s.use(in.from, pos, "the input of step "+st.Name)
	return Val[T]{from: s.add(st)}
}

// side checks the type of the chain's input or output.
func (s *Steps) side(pos, what string, t reflect.Type) functions.Port {
	elemType, stream := elem(t)
	schema, err := functions.SchemaOf(elemType)
	if err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s: the chain's %s: %w", pos, what, err))
	}
	return functions.Port{Schema: schema, Stream: stream}
}

// err returns all faults.
func (s *Steps) err() error {
	if len(s.faults) == 0 {
		return nil
	}
	return fmt.Errorf("define chain %s: %w", s.name, errors.Join(s.faults...))
}
