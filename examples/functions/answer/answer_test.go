package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitter(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pieces []string
		want   []string
		rest   string
	}{
		{"one", []string{"Grass is green."}, nil, "Grass is green."},
		{"two in one piece", []string{"One. Two? Three"}, []string{"One.", "Two?"}, "Three"},
		{"cut between stop and space", []string{"One.", " Two."}, []string{"One."}, "Two."},
		{"a number is no end", []string{"It costs 2.50 today. Yes"}, []string{"It costs 2.50 today."}, "Yes"},
		{"no stop", []string{"and so ", "on"}, nil, "and so on"},
		{"nothing", []string{"", " "}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s splitter
			var got []string
			for _, p := range tt.pieces {
				got = append(got, s.add(p)...)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("sentences (-want +got):\n%s", diff)
			}
			if s.rest() != tt.rest {
				t.Errorf("rest = %q, want %q", s.rest(), tt.rest)
			}
		})
	}
}
