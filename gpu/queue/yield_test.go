package queue

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/catenary-run/catenary/functions"
)

// TestYields_NoFloodKeepsOthersOut: whatever comes to a full queue, whoever has less in it than an equal part gets in. Nobody who
// has an equal part or less loses a call to another caller, nor to a less urgent or equal call of its own.
func TestYields_NoFloodKeepsOthersOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const depth = 12
		var entries []Entry
		count := func(caller string) (n int) {
			for _, e := range entries {
				if e.Caller == caller {
					n++
				}
			}
			return n
		}
		for i := range rapid.IntRange(1, 100).Draw(t, "calls") {
			e := drawEntry(t)
			e.Arrived = at(time.Duration(i))
			if len(entries) < depth {
				entries = append(entries, e)
				continue
			}
			callers := map[string]bool{e.Caller: true}
			for _, other := range entries {
				callers[other.Caller] = true
			}
			part := depth / len(callers)
			victim := Yields(entries, e)
			if victim < 0 {
				if count(e.Caller) < part {
					t.Fatalf("%+v is refused, with %d in a queue of %d for %d callers", e, count(e.Caller), depth, len(callers))
				}
				continue
			}
			v := entries[victim]
			switch {
			case v.Caller == e.Caller && v.class() <= e.class():
				t.Fatalf("%+v gives way to %+v, which is not more urgent", v, e)
			case v.Caller != e.Caller && count(v.Caller) <= part:
				t.Fatalf("%+v gives way to %+v, though its caller has only %d", v, e, count(v.Caller))
			}
			for _, other := range entries {
				if other.Caller == v.Caller && (other.class() > v.class() || other.class() == v.class() && other.Arrived.After(v.Arrived)) {
					t.Fatalf("%+v gives way, and %+v stays", v, other)
				}
			}
			entries = append(slices.Delete(entries, victim, victim+1), e)
		}
	})
}

func TestYields(t *testing.T) {
	const normal, batch = functions.PriorityNormal, functions.PriorityBatch
	a, b := Entry{Caller: "a"}, Entry{Caller: "b"}
	tests := []struct {
		name     string
		entries  []Entry
		newcomer Entry
		want     int
	}{
		{"the only caller", []Entry{a, a}, a, -1},
		{"its own less urgent call", []Entry{{Priority: batch}, {Priority: batch}, {Priority: normal}}, Entry{}, 1},
		{"the newest of a flood", []Entry{a, a, a}, b, 2},
		{"one is no flood", []Entry{a}, b, -1},
		{"one more would only change places", []Entry{a, b, a}, b, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Yields(tt.entries, tt.newcomer); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
