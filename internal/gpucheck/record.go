package main

import (
	"fmt"
	"io"

	"github.com/catenary-run/catenary/internal/samples"
)

// leftOut is what was not measured. Without an arm it is all of the check.
type leftOut struct {
	Bench  string `json:"bench"`
	Arm    string `json:"arm,omitempty"`
	Reason string `json:"reason"`
}

// recorder collects the samples of one check, and what it leaves out.
type recorder struct {
	samples.Set
	left []leftOut
}

// timed records how long f takes, if it goes well.
func (r *recorder) timed(name string, f func() error) error {
	took, err := timed(f)
	if err == nil {
		r.Took(name, took)
	}
	return err
}

// leaveOut notes why an arm is missing, and drops what it has.
func (r *recorder) leaveOut(name, format string, args ...any) {
	r.Drop(name)
	r.left = append(r.left, leftOut{r.Bench, name, fmt.Sprintf(format, args...)})
}

func (r *recorder) print(out io.Writer, doc string) {
	fmt.Fprintf(out, "%s: %s\n", r.Bench, doc)
	r.Print(out)
	for _, l := range r.left {
		what := l.Arm
		if what == "" {
			what = "all"
		}
		fmt.Fprintf(out, "  left out, %s: %s\n", what, l.Reason)
	}
}
