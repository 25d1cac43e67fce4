package queue

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestLate_IsRight: before one slot whose calls take what was predicted, and with nobody who comes later, those are
// refused who would end too late when their turn comes, and nobody else; and they would wait as long as they are told.
func TestLate_IsRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(1)
		m.join(drawEntry(t))
		m.serve()
		m.work(time.Duration(rapid.Int64Range(1, int64(20*time.Second)).Draw(t, "under way")))
		busy := len(m.under) > 0
		for range rapid.IntRange(1, 12).Draw(t, "calls") {
			e := drawEntry(t)
			e.Caller, e.Priority = "one line", ""
			if rapid.Bool().Draw(t, "has a deadline") {
				e.Deadline = m.now.Add(time.Duration(rapid.Int64Range(1, int64(2*time.Minute)).Draw(t, "deadline")))
			}
			m.join(e)
		}
		asked := m.now
		late := Late(m.entries, Order(m.entries, &m.shares, m.now), Busy{Slots: m.slots, Lent: len(m.under), Left: m.shares.Left()}, m.now)
		if busy {
			m.work(time.Hour)
		}
		for i, e := range m.entries {
			tooLate := !e.Deadline.IsZero() && m.now.Add(e.Cost).After(e.Deadline) && (busy || i > 0)
			if len(late) > 0 && late[0].Index == i {
				if wait := m.now.Sub(asked); !tooLate || late[0].Wait != wait {
					t.Fatalf("%+v is refused, too late: %v, and told to wait %v, not %v", e, tooLate, late[0].Wait, wait)
				}
				late = late[1:]
				continue
			}
			if tooLate {
				t.Fatalf("%+v is not refused, and ends at %v", e, m.now.Add(e.Cost))
			}
			m.now = m.now.Add(e.Cost)
		}
	})
}

func TestLate(t *testing.T) {
	deadline := func(d time.Duration) Entry { return Entry{Deadline: at(d), Cost: time.Second} }
	tests := []struct {
		name    string
		entries []Entry
		busy    Busy
		want    []Refusal
	}{
		{"nothing is known", []Entry{{Deadline: at(1)}}, Busy{Slots: 1, Lent: 1}, nil},
		{"no deadline", []Entry{{Cost: time.Hour}}, Busy{Slots: 1, Lent: 1, Left: time.Hour}, nil},
		{"a slot is free", []Entry{deadline(1)}, Busy{Slots: 2, Lent: 1, Left: time.Second}, nil},
		{"in time", []Entry{deadline(2 * time.Second)}, Busy{Slots: 1, Lent: 1, Left: time.Second}, nil},
		{"too late", []Entry{deadline(2*time.Second - 1)}, Busy{Slots: 1, Lent: 1, Left: time.Second}, []Refusal{{0, time.Second}}},
		{"only the second, and the third waits for one", []Entry{deadline(time.Minute), deadline(2 * time.Second), deadline(3 * time.Second)},
			Busy{Slots: 1, Lent: 1, Left: time.Second}, []Refusal{{1, 2 * time.Second}}},
		{"one of four has to end", []Entry{deadline(2*time.Second - 1)}, Busy{Slots: 4, Lent: 4, Left: 4 * time.Second}, []Refusal{{0, time.Second}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			order := make([]int, len(tt.entries))
			for i := range order {
				order[i] = i
			}
			if got := Late(tt.entries, order, tt.busy, start); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestCosts(t *testing.T) {
	var c Costs
	if d := c.Predict(10); d != 0 {
		t.Errorf("predicted %v of nothing", d)
	}
	for range 50 {
		c.Measured(time.Second, 900*time.Millisecond, 10)
	}
	for maxTokens, want := range map[int]time.Duration{0: 1900 * time.Millisecond, 1: time.Second, 4: 1300 * time.Millisecond, 100: 1900 * time.Millisecond} {
		if got := c.Predict(maxTokens); got.Round(time.Millisecond) != want {
			t.Errorf("at most %d tokens: %v, want %v", maxTokens, got, want)
		}
	}
	for range 50 { // times change
		c.Measured(100*time.Millisecond, 0, 1)
	}
	if got := c.Predict(0); got.Round(time.Millisecond) != 100*time.Millisecond {
		t.Errorf("%v, want what was measured last", got)
	}
}
