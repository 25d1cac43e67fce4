package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// row is what one arm of a benchmark came to.
type row struct {
	Bench  string  `json:"bench"`
	Arm    string  `json:"arm"`
	Unit   string  `json:"unit"`
	N      int     `json:"n"`
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
}

// recorder collects samples by arm, in the order in which arms first appear.
type recorder struct {
	bench  string
	out    io.Writer
	arms   []string
	unit   map[string]string
	values map[string][]float64
	ratios []ratio
}

type ratio struct{ what, over, under string }

// add records one sample of an arm.
func (r *recorder) add(arm, unit string, v float64) {
	if r.values == nil {
		r.values, r.unit = map[string][]float64{}, map[string]string{}
	}
	if _, known := r.values[arm]; !known {
		r.arms = append(r.arms, arm)
		r.unit[arm] = unit
	}
	r.values[arm] = append(r.values[arm], v)
}

// rounds calls do some times to get warm, with a recorder that is thrown away, and then the given times with r.
func (r *recorder) rounds(warm, times int, do func(*recorder) error) error {
	for i := range warm + times {
		to := r
		if i < warm {
			to = &recorder{}
		}
		if err := do(to); err != nil {
			return err
		}
	}
	return nil
}

// took records a duration in milliseconds.
func (r *recorder) took(arm string, d time.Duration) { r.add(arm, "ms", float64(d)/1e6) }

// ratio has the medians of two arms compared below the table.
func (r *recorder) ratio(what, over, under string) {
	r.ratios = append(r.ratios, ratio{what, over, under})
}

func (r *recorder) rows() []row {
	var rows []row
	for _, arm := range r.arms {
		v := slices.Sorted(slices.Values(r.values[arm]))
		rows = append(rows, row{Bench: r.bench, Arm: arm, Unit: r.unit[arm], N: len(v), Min: v[0], Median: quantile(v, 0.5), P99: quantile(v, 0.99)})
	}
	return rows
}

// quantile returns the value at rank q of sorted values: the nearest one, never an invented one.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func (r *recorder) print() {
	w := tabs(r.out)
	fmt.Fprintln(w, "  arm\tunit\tn\tmin\tmedian\tp99")
	medians := map[string]float64{}
	for _, row := range r.rows() {
		medians[row.Arm] = row.Median
		fmt.Fprintf(w, "  %s\t%s\t%d\t%.3g\t%.3g\t%.3g\n", row.Arm, row.Unit, row.N, row.Min, row.Median, row.P99)
	}
	w.Flush()
	for _, c := range r.ratios {
		fmt.Fprintf(r.out, "  %s: %.2f\n", c.what, medians[c.over]/medians[c.under])
	}
}
