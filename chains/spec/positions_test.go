package spec

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPositions_RoundTripAndHash(t *testing.T) {
	c := Chain{Name: "c", Out: "r", Pos: "c.yaml:1:1", Steps: []Step{
		{Name: "a", Op: OpCall, Func: "a", From: Input, Pos: "c.yaml:3:5"},
		{Name: "r", Op: OpSwitch, From: "a", Pos: "c.yaml:4:5", Cases: []Case{
			{When: "it", Out: "b", Pos: "c.yaml:6:7", Steps: []Step{{Name: "b", Op: OpCall, Func: "b", From: "a", Pos: "c.yaml:7:9"}}},
			{Out: "a"},
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
