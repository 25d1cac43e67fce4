package functions

import (
	"errors"
	"testing"
)

func TestParsePriority(t *testing.T) {
	for _, p := range []Priority{PriorityInteractive, PriorityNormal, PriorityBatch} {
		if got, err := ParsePriority(string(p)); got != p || err != nil {
			t.Errorf("%q: got %q, %v", p, got, err)
		}
	}
	for _, bad := range []string{"normal", "Batch", "1"} {
		if _, err := ParsePriority(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %v, want %v", bad, err, ErrInvalid)
		}
	}
}
