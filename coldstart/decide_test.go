package coldstart

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/catenary-run/catenary/functions"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	in := func(d time.Duration) time.Time { return now.Add(d) }
	wasm := spec{Max: 4, Idle: 5 * time.Minute, KeepCode: true}
	plugin := spec{Max: 2, Idle: 5 * time.Minute}
	hot := state{LastUsed: ago(time.Minute)}
	for _, tt := range []struct {
		name string
		sp   spec
		o    observed
		st   state
		want decision
	}{
		{"nothing", wasm, observed{}, state{}, decision{}},
		{"a call from cold loads", wasm, observed{Calls: 3}, state{}, decision{Load: true, Next: in(5 * time.Minute)}},
		{"one load at a time", wasm, observed{Calls: 3, Code: codeLoading}, state{}, decision{Next: in(5 * time.Minute)}},
		{"a load waits for the unload", wasm, observed{Calls: 3, Code: codeUnloading}, state{}, decision{Next: in(5 * time.Minute)}},
		{"a deploy loads", wasm, observed{Preparers: 1}, state{}, decision{Load: true}},
		{"a deploy starts nothing", wasm, observed{Preparers: 1, Code: codeLoaded}, state{}, decision{}},
		{"one start per call", wasm, observed{Calls: 3, Code: codeLoaded}, hot, decision{Start: 3, Next: in(5 * time.Minute)}},
		{"no more than max", wasm, observed{Calls: 30, Busy: 1, Code: codeLoaded}, hot, decision{Start: 3, Next: in(5 * time.Minute)}},
		{"those that start count", wasm, observed{Calls: 3, Starting: 2, Code: codeLoaded}, hot, decision{Start: 1, Next: in(5 * time.Minute)}},
		{"those that are reset count", wasm, observed{Calls: 1, Resetting: 1, Code: codeLoaded}, hot, decision{Next: in(5 * time.Minute)}},
		{"those that leave don't", wasm, observed{Calls: 1, Leaving: 4, Code: codeLoaded}, hot, decision{Start: 1, Next: in(5 * time.Minute)}},
		{"a wake starts one", wasm, observed{Wakers: 9, Code: codeLoaded}, state{}, decision{Start: 1, Next: in(5 * time.Minute)}},
		{"a wake joins a call's start", wasm, observed{Wakers: 1, Calls: 1, Starting: 1, Code: codeLoaded}, state{}, decision{Next: in(5 * time.Minute)}},
		{"a hot version has one ready", wasm, observed{Code: codeLoaded}, hot, decision{Start: 1, Next: in(4 * time.Minute)}},
		{"not in a rush", wasm, observed{Code: codeLoaded, Rush: true}, hot, decision{Defer: true, Next: in(4 * time.Minute)}},
		{"a rush holds up no call", wasm, observed{Calls: 1, Code: codeLoaded, Rush: true}, hot, decision{Start: 1, Next: in(5 * time.Minute)}},
		{"a rush holds up no wake", wasm, observed{Wakers: 1, Code: codeLoaded, Rush: true}, state{}, decision{Start: 1, Next: in(5 * time.Minute)}},
		{"a hot version without code is left alone", wasm, observed{}, hot, decision{Next: in(4 * time.Minute)}},
		{"a parked version rests", wasm, observed{Code: codeLoaded}, state{LastUsed: ago(5 * time.Minute)}, decision{}},
		{"idle instances go", wasm, observed{Ready: []time.Time{ago(5 * time.Minute)}, Code: codeLoaded}, state{LastUsed: ago(5 * time.Minute)}, decision{Stop: 1}},
		{"spare ones go before", wasm, observed{Ready: []time.Time{ago(6 * time.Minute), ago(2 * time.Minute), ago(time.Minute)}, Code: codeLoaded}, hot,
			decision{Stop: 1, Next: in(3 * time.Minute)}},
		{"the last one stays while hot", wasm, observed{Ready: []time.Time{ago(6 * time.Minute)}, Code: codeLoaded}, hot, decision{Next: in(4 * time.Minute)}},
		{"a plugin's code goes", plugin, observed{Code: codeLoaded}, state{LastUsed: ago(5 * time.Minute)}, decision{Unload: true}},
		{"not before its process", plugin, observed{Leaving: 1, Code: codeLoaded}, state{LastUsed: ago(5 * time.Minute)}, decision{}},
		{"not while somebody waits for it", plugin, observed{Preparers: 1, Code: codeLoaded}, state{}, decision{}},
		{"a failure pauses starts", wasm, observed{Calls: 2, Code: codeLoaded}, state{Failures: 2, RetryAt: in(time.Second)}, decision{Next: in(time.Second)}},
		{"a failure pauses loads", wasm, observed{Calls: 2}, state{Failures: 2, RetryAt: in(time.Second)}, decision{Next: in(time.Second)}},
		{"then one tries for all", wasm, observed{Calls: 2, Code: codeLoaded}, state{Failures: 2, RetryAt: now}, decision{Start: 1, Next: in(5 * time.Minute)}},
		{"and only one", wasm, observed{Calls: 2, Starting: 1, Code: codeLoaded}, state{Failures: 2, RetryAt: now}, decision{Next: in(5 * time.Minute)}},
		{"shutdown stops", wasm, observed{Calls: 2, Ready: []time.Time{now, now}, Busy: 1, Code: codeLoaded, Stopping: true}, hot, decision{Stop: 2}},
		{"shutdown unloads in the end", wasm, observed{Code: codeLoaded, Stopping: true}, hot, decision{Unload: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, got := decide(tt.sp, tt.o, tt.st, now)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestState_FailedPauses(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	var st state
	var got []time.Duration
	for range 9 {
		st = st.failed(now)
		got = append(got, st.RetryAt.Sub(now))
	}
	want := []time.Duration{0, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for range 1000 {
		st = st.failed(now)
	}
	if got := st.RetryAt.Sub(now); got != maxPause {
		t.Errorf("after many failures: got a pause of %v, want %v", got, maxPause)
	}
	if diff := cmp.Diff(state{}, st.served()); diff != "" {
		t.Error(diff)
	}
}

// TestDecide_Properties: whatever there is, a decision keeps the bounds.
func TestDecide_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
		few := rapid.IntRange(0, 6)
		when := rapid.Custom(func(t *rapid.T) time.Time {
			return now.Add(time.Duration(rapid.IntRange(-20, 2).Draw(t, "minutes")) * time.Minute)
		})
		sp := spec{Max: rapid.IntRange(1, 5).Draw(t, "max"), Idle: 5 * time.Minute, KeepCode: rapid.Bool().Draw(t, "keep")}
		o := observed{
			Calls: few.Draw(t, "calls"), Wakers: few.Draw(t, "wakers"), Preparers: few.Draw(t, "preparers"),
			Ready: rapid.SliceOfN(when, 0, 4).Draw(t, "ready"), Busy: few.Draw(t, "busy"), Resetting: few.Draw(t, "resetting"),
			Starting: few.Draw(t, "starting"), Leaving: few.Draw(t, "leaving"),
			Code: codeState(rapid.IntRange(0, 3).Draw(t, "code")), Stopping: rapid.Bool().Draw(t, "stopping"),
		}
		slices.SortFunc(o.Ready, time.Time.Compare)
		st := state{LastUsed: when.Draw(t, "used"), Failures: few.Draw(t, "failures"), RetryAt: when.Draw(t, "retry")}
		_, d := decide(sp, o, st, now)
		switch {
		case d.Start < 0 || d.Stop < 0:
			t.Fatalf("negative: %+v", d)
		case d.Stop > len(o.Ready):
			t.Fatalf("stops %d of %d: busy ones must not be stopped", d.Stop, len(o.Ready))
		case d.Start > 0 && o.alive()+d.Start > sp.Max:
			t.Fatalf("%d alive and %d more are above the maximum of %d", o.alive(), d.Start, sp.Max)
		case d.Start > max(1, o.Calls):
			t.Fatalf("starts %d for %d calls", d.Start, o.Calls)
		case d.Start > 0 && d.Stop > 0:
			t.Fatalf("starts and stops: %+v", d)
		case d.Start > 0 && (o.Code != codeLoaded || d.Unload || o.Stopping):
			t.Fatalf("starts without code: %+v", d)
		case d.Load && (o.Code != codeNone || o.Stopping || !o.demand()):
			t.Fatalf("loads for nobody: %+v", d)
		case d.Unload && (o.Code != codeLoaded || o.alive()+o.Leaving > 0):
			t.Fatalf("unloads under %d instances", o.alive()+o.Leaving)
		case !d.Next.IsZero() && !d.Next.After(now):
			t.Fatalf("wants to be asked again at %v, which is not after %v: that would spin", d.Next, now)
		}
		if again, d2 := decide(sp, o, st, now); cmp.Diff(d, d2) != "" {
			t.Fatalf("the same question has two answers: %v", again)
		}
	})
}

// TestDecide_Drains plays random calls against decide, with instant starts, and then leaves it alone: everything goes.
func TestDecide_Drains(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
		sp := spec{Max: rapid.IntRange(1, 5).Draw(t, "max"), Idle: 5 * time.Minute, KeepCode: rapid.Bool().Draw(t, "keep")}
		spent := rapid.Bool().Draw(t, "spent")
		var o observed
		var st state
		var next, goneAt time.Time // goneAt: since when nothing is there
		gone := func() bool { return o.alive() == 0 && (sp.KeepCode || o.Code == codeNone) }
		settle := func() {
			defer func() {
				if !gone() {
					goneAt = time.Time{}
				} else if goneAt.IsZero() {
					goneAt = now
				}
			}()
			for range 100 {
				var d decision
				st, d = decide(sp, o, st, now)
				next = d.Next
				o.Ready = slices.Clone(o.Ready[d.Stop:])
				switch {
				case d.Load:
					o.Code = codeLoaded
				case d.Unload:
					o.Code = codeNone
				}
				for range d.Start {
					o.Wakers = 0
					if o.Calls > 0 {
						o.Calls--
						o.Busy++
					} else {
						o.Ready = append(o.Ready, now)
					}
				}
				if !d.Load && !d.Unload && d.Start == 0 && d.Stop == 0 {
					return
				}
			}
			t.Fatalf("it never settles: %+v, %+v", o, st)
		}
		for range rapid.IntRange(1, 30).Draw(t, "events") {
			switch rapid.IntRange(0, 3).Draw(t, "event") {
			case 0: // a call comes
				if n := len(o.Ready); n > 0 {
					o.Ready = o.Ready[:n-1]
					o.Busy++
				} else {
					o.Calls++
				}
			case 1: // a call ends
				if o.Busy == 0 {
					continue
				}
				o.Busy--
				st.LastUsed = now
				if !spent && o.Calls > 0 {
					o.Calls--
					o.Busy++
				} else if !spent {
					o.Ready = append(o.Ready, now)
				}
			case 2: // a wake comes
				if len(o.Ready)+o.Busy == 0 {
					o.Wakers++
				}
			case 3:
				until := now.Add(time.Duration(rapid.IntRange(1, 400).Draw(t, "seconds")) * time.Second)
				for !next.IsZero() && next.Before(until) {
					now = next
					settle()
				}
				now = until
			}
			settle()
			if o.alive() > sp.Max {
				t.Fatalf("%d are alive, of at most %d", o.alive(), sp.Max)
			}
		}
		for o.Calls > 0 || o.Busy > 0 { // all calls end
			o.Busy = 0
			st.LastUsed = now
			settle()
		}
		for steps := 0; !next.IsZero(); steps++ {
			if steps > 20 {
				t.Fatalf("it asks again and again: %+v, %+v", o, st)
			}
			now = next
			settle()
		}
		if !gone() {
			t.Fatalf("this is left: %+v", o)
		}
		if idle := goneAt.Sub(st.LastUsed); !st.LastUsed.IsZero() && idle > sp.Idle {
			t.Fatalf("it took %v to drain, want the idle time", idle)
		}
	})
}

func TestEvict(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	a, b, c := parkedCode{"a", 10, at(3)}, parkedCode{"b", 10, at(1)}, parkedCode{"c", 10, at(2)}
	for _, tt := range []struct {
		name         string
		budget, used int64
		want         []functions.Digest
	}{
		{"enough", 100, 100, nil},
		{"the oldest", 100, 101, []functions.Digest{"b"}},
		{"no more than needed", 100, 110, []functions.Digest{"b"}},
		{"then the next", 100, 111, []functions.Digest{"b", "c"}},
		{"all that there is", 0, 1000, []functions.Digest{"b", "c", "a"}},
	} {
		if diff := cmp.Diff(tt.want, evict(tt.budget, tt.used, []parkedCode{a, b, c})); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// TestEvict_Properties: the least recently used go, as few as possible.
func TestEvict_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var parked []parkedCode
		var used int64
		for i := range rapid.IntRange(0, 8).Draw(t, "count") {
			c := parkedCode{functions.Digest(rune('a' + i)), rapid.Int64Range(1, 50).Draw(t, "bytes"), time.Unix(rapid.Int64Range(0, 100).Draw(t, "used"), 0)}
			parked = append(parked, c)
			used += c.Bytes
		}
		budget := rapid.Int64Range(0, 300).Draw(t, "budget")
		out := evict(budget, used, parked)
		left := used
		var newest time.Time
		var last int64
		for _, c := range parked {
			if slices.Contains(out, c.Version) {
				left -= c.Bytes
				if c.Used.After(newest) {
					newest = c.Used
				}
				if c.Version == out[len(out)-1] {
					last = c.Bytes
				}
			}
		}
		if left > budget {
			t.Fatalf("%d are left of a budget of %d", left, budget)
		}
		if len(out) > 0 && left+last <= budget {
			t.Fatalf("%v is more than needed", out)
		}
		for _, c := range parked {
			if !slices.Contains(out, c.Version) && c.Used.Before(newest) {
				t.Fatalf("%s, used at %v, stays, and one used at %v goes", c.Version, c.Used, newest)
			}
		}
	})
}
