package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// row is what one arm of a check came to, in the form of internal/bench.
type row struct {
	Bench  string  `json:"bench"`
	Arm    string  `json:"arm"`
	Unit   string  `json:"unit"`
	N      int     `json:"n"`
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
}

// leftOut is what was not measured. Without an arm it is all of the check.
type leftOut struct {
	Bench  string `json:"bench"`
	Arm    string `json:"arm,omitempty"`
	Reason string `json:"reason"`
}

// recorder collects the samples of one check, its arms in the order in which they first appear.
type recorder struct {
	bench string
	arms  []arm
	left  []leftOut
}

type arm struct {
	name, unit string
	samples    []float64
}

func (r *recorder) add(name, unit string, v float64) {
	i := slices.IndexFunc(r.arms, func(a arm) bool { return a.name == name })
	if i < 0 {
		i = len(r.arms)
		r.arms = append(r.arms, arm{name: name, unit: unit})
	}
	r.arms[i].samples = append(r.arms[i].samples, v)
}

// took records a duration in milliseconds.
func (r *recorder) took(name string, d time.Duration) { r.add(name, "ms", float64(d)/1e6) }

// timed records how long f takes, if it goes well.
func (r *recorder) timed(name string, f func() error) error {
	took, err := timed(f)
	if err == nil {
		r.took(name, took)
	}
	return err
}

// reset drops all samples: figures beside wrong bytes are worth nothing.
func (r *recorder) reset() { r.arms = nil }

// leaveOut notes why an arm is missing, and drops what it has.
func (r *recorder) leaveOut(name, format string, args ...any) {
	r.arms = slices.DeleteFunc(r.arms, func(a arm) bool { return a.name == name })
	r.left = append(r.left, leftOut{r.bench, name, fmt.Sprintf(format, args...)})
}

func (r *recorder) rows() []row {
	var rows []row
	for _, a := range r.arms {
		v := slices.Sorted(slices.Values(a.samples))
		rows = append(rows, row{Bench: r.bench, Arm: a.name, Unit: a.unit, N: len(v), Min: v[0], Median: quantile(v, 0.5), P99: quantile(v, 0.99)})
	}
	return rows
}

// quantile returns the value at rank q of sorted values: the nearest one, never an invented one.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func (r *recorder) print(out io.Writer, doc string) {
	fmt.Fprintf(out, "%s: %s\n", r.bench, doc)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, row := range r.rows() {
		if i == 0 {
			fmt.Fprintln(w, "  arm\tunit\tn\tmin\tmedian\tp99")
		}
		fmt.Fprintf(w, "  %s\t%s\t%d\t%.3g\t%.3g\t%.3g\n", row.Arm, row.Unit, row.N, row.Min, row.Median, row.P99)
	}
	w.Flush()
	for _, l := range r.left {
		what := l.Arm
		if what == "" {
			what = "all"
		}
		fmt.Fprintf(out, "  left out, %s: %s\n", what, l.Reason)
	}
}
