package queue

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestShares_WhatIsUsedIsForgotten(t *testing.T) {
	var s Shares
	l := s.Lend(Entry{Caller: "a", Cost: 10 * time.Second}, start)
	used := func(want, now time.Duration) {
		t.Helper()
		if got := s.Used("a", at(now)); (got - want).Abs() > time.Microsecond {
			t.Errorf("%v after %v, want %v", got, now, want)
		}
	}
	used(10*time.Second, 0) // promised
	s.Charge(l, 4*time.Second, start)
	used(10*time.Second, 0) // 4 measured, 6 promised
	s.Charge(l, 8*time.Second, start)
	used(12*time.Second, 0) // more than was promised
	s.Return(l, true, start)
	used(12*time.Second, 0)
	used(6*time.Second, halfLife)
	used(3*time.Second, 2*halfLife)
	s.Charge(l, time.Hour, at(2*halfLife)) // what comes too late is not counted
	s.Return(l, false, at(2*halfLife))
	used(3*time.Second, 2*halfLife)
}

func TestShares_CutOffCallsPay(t *testing.T) {
	for held, want := range map[time.Duration]time.Duration{time.Second: 3 * time.Second, time.Minute: 10 * time.Second} {
		var s Shares
		l := s.Lend(Entry{Caller: "a", Cost: 10 * time.Second}, start)
		s.Charge(l, 2*time.Second, at(held))
		s.Return(l, false, at(held))
		if got := s.Used("a", at(held)); got != want {
			t.Errorf("held for %v: %v, want %v", held, got, want)
		}
	}
}

func TestShares_LastSlot(t *testing.T) {
	var s Shares
	may := func(caller string, free int, now time.Duration, want bool) {
		t.Helper()
		if got := s.MayTake(caller, free, at(now)); got != want {
			t.Errorf("%s may take one of %d free slots after %v: %v, want %v", caller, free, now, got, want)
		}
	}
	may("a", 0, 0, false)
	may("a", 1, 0, true)
	s.Lend(Entry{Caller: "a"}, start)
	may("a", 1, 0, true) // nobody else is known
	bobs := s.Lend(Entry{Caller: "bob"}, start)
	may("a", 1, 0, true) // bob has one
	s.Charge(bobs, time.Second, start)
	s.Return(bobs, true, start)
	may("a", 1, 0, false)
	may("a", 2, 0, true)
	may("bob", 1, 0, true)
	may("cy", 1, 0, true) // has none either
	may("a", 1, lately, true)
}

// TestShares_Properties: books are straight after any calls, and do not grow without end.
func TestShares_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Shares
		now := start
		var open []*Loan
		var total time.Duration
		for i := range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "passes")))
			switch k := rapid.IntRange(0, 2).Draw(t, "what"); {
			case k == 0 || len(open) == 0:
				e := drawEntry(t)
				e.Caller = fmt.Sprint(i)
				open = append(open, s.Lend(e, now))
			case k == 1:
				used := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "used"))
				s.Charge(open[0], used, now)
				total += used
			default:
				s.Return(open[0], rapid.Bool().Draw(t, "whole"), now)
				open = open[1:]
			}
			if left := s.Left(); left < 0 || len(open) == 0 && left != 0 {
				t.Fatalf("%d calls are under way, and %v is left of them", len(open), left)
			}
			for caller, a := range s.accounts {
				if a.used < 0 || a.pending < 0 || a.loans < 0 || s.Used(caller, now) < 0 {
					t.Fatalf("%s: %+v", caller, a)
				}
			}
		}
		for _, l := range open {
			s.Return(l, true, now)
		}
		s.Lend(Entry{Caller: "last"}, now.Add(24*time.Hour))
		if n := len(s.accounts); n != 1 {
			t.Fatalf("%d accounts after a day", n)
		}
	})
}
