package sdk

import (
	"time"

	"github.com/catenary-run/catenary/chains/spec"
)

// Option changes a step made by [Call] or [Each]: [As], [Timeout] or [Lazy].
type Option interface {
	apply(st *spec.Step, fault func(format string, args ...any))
}

// Name is the option that [As] returns.
type Name string

// As names a step. Its name is its identity in traces, metrics and errors; without this option it is that of the
// function.
func As(name string) Name { return Name(name) }

func (n Name) apply(st *spec.Step, _ func(string, ...any)) { st.Name = string(n) }

type optionFunc func(st *spec.Step, fault func(format string, args ...any))

func (f optionFunc) apply(st *spec.Step, fault func(string, ...any)) { f(st, fault) }

// Timeout bounds one call of a step.
func Timeout(d time.Duration) Option {
	return optionFunc(func(st *spec.Step, fault func(string, ...any)) {
		if d <= 0 {
			fault("the timeout %s is not positive", d)
		}
		st.Timeout = d
	})
}

// Lazy leaves the function of a step asleep until the branch that the step is in has been taken: it saves the wake of
// what is rarely used, and then costs the time of it.
func Lazy() Option {
	return optionFunc(func(st *spec.Step, _ func(string, ...any)) { st.Lazy = true })
}
