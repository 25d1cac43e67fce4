// Package samples holds what benchmarks and checks measure, and says what it came to, in the one form that all of them write.
//
// A [Set] has the samples of one benchmark by arm, in the order in which arms first appear; its [Row] values are what the
// JSON files hold. One goroutine at a time uses a set.
package samples

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Row is what one arm of a benchmark came to.
type Row struct {
	Bench  string  `json:"bench"`
	Arm    string  `json:"arm"`
	Unit   string  `json:"unit"`
	N      int     `json:"n"`
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
}

// Set has the samples of the benchmark that it is named after. One without a name is as good as any to throw away.
type Set struct {
	Bench string
	arms  []arm
}

type arm struct {
	name, unit string
	samples    []float64
}

// Add records one sample of an arm.
func (s *Set) Add(name, unit string, v float64) {
	i := slices.IndexFunc(s.arms, func(a arm) bool { return a.name == name })
	if i < 0 {
		i = len(s.arms)
		s.arms = append(s.arms, arm{name: name, unit: unit})
	}
	s.arms[i].samples = append(s.arms[i].samples, v)
}

// Took records a duration in milliseconds.
func (s *Set) Took(name string, d time.Duration) { s.Add(name, "ms", float64(d)/1e6) }

// Drop forgets an arm.
func (s *Set) Drop(name string) {
	s.arms = slices.DeleteFunc(s.arms, func(a arm) bool { return a.name == name })
}

// Clear forgets all arms.
func (s *Set) Clear() { s.arms = nil }

// Rows returns one row for each arm.
func (s *Set) Rows() []Row {
	var rows []Row
	for _, a := range s.arms {
		v := slices.Sorted(slices.Values(a.samples))
		rows = append(rows, Row{Bench: s.Bench, Arm: a.name, Unit: a.unit, N: len(v), Min: v[0], Median: quantile(v, 0.5), P99: quantile(v, 0.99)})
	}
	return rows
}

// quantile returns the value at rank q of sorted values: the nearest one, never an invented one.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// Print writes the rows as a table, or nothing if there are none.
func (s *Set) Print(out io.Writer) {
	w := Table(out)
	for i, row := range s.Rows() {
		if i == 0 {
			fmt.Fprintln(w, "  arm\tunit\tn\tmin\tmedian\tp99")
		}
		fmt.Fprintf(w, "  %s\t%s\t%d\t%.3g\t%.3g\t%.3g\n", row.Arm, row.Unit, row.N, row.Min, row.Median, row.P99)
	}
	w.Flush()
}

// Table returns a writer that lines up columns.
func Table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// Rounds calls do some times to get warm, with what records into nothing that is kept, and then the given times with what
// is kept.
func Rounds[R any](warm, times int, kept, dropped R, do func(R) error) error {
	for i := range warm + times {
		to := kept
		if i < warm {
			to = dropped
		}
		if err := do(to); err != nil {
			return err
		}
	}
	return nil
}
