package worker

import (
	"testing"

	"pgregory.net/rapid"
)

// TestMembers: a step is of as many calls of one caller as of another, and of one at least; of each it is those that were
// in a step longest ago, so that everybody is in one again soon.
func TestMembers(t *testing.T) {
	type call struct {
		caller string
		since  int // its last step
	}
	caller := func(c *call) string { return c.caller }
	rapid.Check(t, func(t *rapid.T) {
		var in []*call
		count := map[string]int{}
		for range rapid.IntRange(1, 20).Draw(t, "calls") {
			who := rapid.SampledFrom([]string{"a", "b", "c", ""}).Draw(t, "caller")
			in = append(in, &call{caller: who})
			count[who]++
		}
		for step := range 40 {
			now := members(in, caller)
			each := map[string]int{}
			stepped := map[*call]bool{}
			for _, c := range now {
				each[c.caller]++
				stepped[c] = true
				c.since = step
			}
			for who := range count {
				if each[who] == 0 || each[who] != each[in[0].caller] {
					t.Fatalf("a step is of %v calls, of %v", each, count)
				}
			}
			var rest []*call
			for _, c := range in {
				if !stepped[c] {
					rest = append(rest, c)
				}
				if step-c.since > count[c.caller] {
					t.Fatalf("a call of %q was in no step for %d steps, though it has %d", c.caller, step-c.since, count[c.caller])
				}
			}
			in = append(rest, now...)
		}
	})
}
