package spec

import (
	"slices"
	"testing"
)

func TestChain_Unread(t *testing.T) {
	if got := voice().Unread(); len(got) != 0 {
		t.Errorf("voice: got %v, want none", got)
	}
	for _, tt := range []struct {
		name   string
		change func(*Chain)
		want   []string
	}{
		{"the chain's output is another one", func(c *Chain) { c.Out = "route" }, []string{"speak"}},
		{"a case yields something from around it", func(c *Chain) { c.Steps[1].Cases[0].Out = "transcribe" }, []string{"sorry"}},
		{"nobody reads the switch", func(c *Chain) { c.Steps[2].From = "transcribe" }, []string{"route"}},
		{"several, in order", func(c *Chain) { c.Steps[2].From, c.Out, c.Steps[1].Cases[1].Out = "in", "in", "in" }, []string{"route", "answer", "speak"}},
		{"read by itself only", func(c *Chain) { c.Steps[2].From, c.Out = "speak", "route" }, nil},
	} {
		c := voice()
		tt.change(&c)
		var got []string
		for _, s := range c.Unread() {
			got = append(got, s.Name)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
