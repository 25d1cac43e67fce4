package main

import (
	"fmt"
	"io"

	"github.com/catenary-run/catenary/internal/samples"
)

// recorder collects the samples of one benchmark, and what is to be compared.
type recorder struct {
	samples.Set
	out    io.Writer
	ratios []ratio
}

type ratio struct{ what, over, under string }

// rounds calls do some times to get warm, with a recorder that is thrown away, and then the given times with r.
func (r *recorder) rounds(warm, times int, do func(*recorder) error) error {
	return samples.Rounds(warm, times, r, &recorder{}, do)
}

// ratio has the medians of two arms compared below the table.
func (r *recorder) ratio(what, over, under string) {
	r.ratios = append(r.ratios, ratio{what, over, under})
}

func (r *recorder) print() {
	r.Print(r.out)
	medians := map[string]float64{}
	for _, row := range r.Rows() {
		medians[row.Arm] = row.Median
	}
	for _, c := range r.ratios {
		fmt.Fprintf(r.out, "  %s: %.2f\n", c.what, medians[c.over]/medians[c.under])
	}
}
