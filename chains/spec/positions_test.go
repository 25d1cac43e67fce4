package spec

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPositions_RoundTripAndHash(t *testing.T) {
	c := Chain{Name: "c", Out: "r", Pos: "c.yaml:1:1", Steps: []Step{
		{Name: "a", Op: OpCall, Func: "a", From: Input, Pos: "c.yaml:3:5"},
		{Name: "r", Op: OpSwitch, From: "a", Pos: "c.yaml:4:5", Cases: []Case{
			{When: "it", Out: "b", Pos: "c.yaml:6:7", Places: []Place{{0, 6, 7}, {1, 7, 3}}, Steps: []Step{{Name: "b", Op: OpCall, Func: "b", From: "a", Pos: "c.yaml:7:9"}}},
			{Out: "b", Pos: "c.yaml:8:7", Steps: []Step{{Name: "b", Op: OpCall, Func: "b", From: "a", Pos: "c.yaml:9:9"}}}, // a name twice
		}},
	}}
	all := c.Positions()
	bare := c.WithPositions(nil)
	if len(bare.Positions()) != 0 {
		t.Errorf("positions left: %v", bare.Positions())
	}
	if diff := cmp.Diff(c, bare.WithPositions(all)); diff != "" {
		t.Errorf("round trip (-want +got):\n%s", diff)
	}
	if c.Hash() != bare.Hash() {
		t.Error("the hash depends on positions")
	}
	if c.Steps[1].Cases[0].Steps[0].Pos == "" {
		t.Error("WithPositions changed the chain that it was called on")
	}
}

func TestCase_At(t *testing.T) {
	two := Case{Pos: "a:b.yaml:6:15", Places: []Place{{0, 7, 11}, {5, 8, 13}}}
	for _, tt := range []struct {
		c      Case
		offset int
		pos    string
		exact  bool
	}{
		{two, 0, "a:b.yaml:7:11", true},
		{two, 4, "a:b.yaml:7:15", true},
		{two, 5, "a:b.yaml:8:13", true},
		{two, 9, "a:b.yaml:8:17", true},
		{two, -1, "a:b.yaml:6:15", false},
		{Case{Pos: "a.go:7"}, 3, "a.go:7", false},
		{Case{Pos: "a.go:7", Places: two.Places}, 3, "a.go:7", false},
		{Case{Pos: "x.yaml:6:15", Places: []Place{{3, 7, 11}}}, 2, "x.yaml:6:15", false},
		{Case{Places: two.Places}, 3, "", false},
	} {
		if pos, exact := tt.c.At(tt.offset); pos != tt.pos || exact != tt.exact {
			t.Errorf("%q, %v at %d: got %s, %v, want %s, %v", tt.c.Pos, tt.c.Places, tt.offset, pos, exact, tt.pos, tt.exact)
		}
	}
}

// TestParsePlaces: what comes over a wire may be anything.
func TestParsePlaces(t *testing.T) {
	for _, text := range []string{"", "x", "1:2", "1:2:3:4", "-1:2:3", "5:1:1 4:2:1", "1:1:1 1:2:1", "99999999999999999999:1:1"} {
		if got := parsePlaces(text); got != nil {
			t.Errorf("%q: got %v, want none", text, got)
		}
	}
}
