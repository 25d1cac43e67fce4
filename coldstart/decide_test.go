package coldstart

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	in := func(d time.Duration) time.Time { return now.Add(d) }
	wasm := spec{Max: 4, Idle: 5 * time.Minute, KeepCode: true}
	plugin := spec{Max: 2, Idle: 5 * time.Minute}
	spare := spec{Max: 4, Spare: 2, Idle: 5 * time.Minute, KeepCode: true}
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
		{"idle instances go", wasm, observed{Ready: []time.Time{ago(5 * time.Minute)}, Code: codeLoaded}, state{LastUsed: ago(5 * time.Minute)}, decision{Stop: 1, Why: whyIdle}},
		{"spare ones go before", wasm, observed{Ready: []time.Time{ago(6 * time.Minute), ago(2 * time.Minute), ago(time.Minute)}, Code: codeLoaded}, hot,
			decision{Stop: 1, Why: whyIdle, Next: in(3 * time.Minute)}},
		{"the last one stays while hot", wasm, observed{Ready: []time.Time{ago(6 * time.Minute)}, Code: codeLoaded}, hot, decision{Next: in(4 * time.Minute)}},
		{"a plugin's code goes", plugin, observed{Code: codeLoaded}, state{LastUsed: ago(5 * time.Minute)}, decision{Unload: true, Why: whyIdle}},
		{"not before its process", plugin, observed{Leaving: 1, Code: codeLoaded}, state{LastUsed: ago(5 * time.Minute)}, decision{}},
		{"not while somebody waits for it", plugin, observed{Preparers: 1, Code: codeLoaded}, state{}, decision{}},
		{"a failure pauses starts", wasm, observed{Calls: 2, Code: codeLoaded}, state{Failures: 2, RetryAt: in(time.Second)}, decision{Next: in(time.Second)}},
		{"a failure pauses loads", wasm, observed{Calls: 2}, state{Failures: 2, RetryAt: in(time.Second)}, decision{Next: in(time.Second)}},
		{"then one tries for all", wasm, observed{Calls: 2, Code: codeLoaded}, state{Failures: 2, RetryAt: now}, decision{Start: 1, Next: in(5 * time.Minute)}},
		{"and only one", wasm, observed{Calls: 2, Starting: 1, Code: codeLoaded}, state{Failures: 2, RetryAt: now}, decision{Next: in(5 * time.Minute)}},
		{"shutdown stops", wasm, observed{Calls: 2, Ready: []time.Time{now, now}, Busy: 1, Code: codeLoaded, Stopping: true}, hot, decision{Stop: 2, Why: whyShutdown}},
		{"shutdown unloads in the end", wasm, observed{Code: codeLoaded, Stopping: true}, hot, decision{Unload: true, Why: whyShutdown}},

		{"a deploy that goes on keeps its code", wasm, observed{Deploys: 1, Code: codeLoaded}, state{}, decision{}},
		{"one that passed, too", wasm, observed{Code: codeLoaded}, state{Deployed: true}, decision{}},
		{"one that failed does not", wasm, observed{Code: codeLoaded}, state{}, decision{Unload: true, Why: whyUnwanted}},
		{"unless it was used", wasm, observed{Code: codeLoaded}, state{LastUsed: ago(time.Hour)}, decision{}},
		{"a plugin's code goes with each deploy", plugin, observed{Code: codeLoaded}, state{Deployed: true}, decision{Unload: true, Why: whyIdle}},

		{"spare ones are ready", spare, observed{Code: codeLoaded}, hot, decision{Start: 2, Next: in(4 * time.Minute)}},
		{"beyond those in use", spare, observed{Busy: 1, Ready: []time.Time{now}, Code: codeLoaded}, hot, decision{Start: 1, Next: in(5 * time.Minute)}},
		{"those that are reset are", spare, observed{Busy: 1, Resetting: 2, Code: codeLoaded}, hot, decision{Next: in(5 * time.Minute)}},
		{"within max", spare, observed{Busy: 3, Code: codeLoaded}, hot, decision{Start: 1, Next: in(5 * time.Minute)}},
		{"not before who waits", spare, observed{Calls: 1, Code: codeLoaded}, hot, decision{Start: 1, Next: in(5 * time.Minute)}},
		{"nor before a wake", spare, observed{Wakers: 1, Code: codeLoaded}, state{}, decision{Start: 1, Next: in(5 * time.Minute)}},
		{"nor in a rush", spare, observed{Busy: 1, Code: codeLoaded, Rush: true}, hot, decision{Defer: true, Next: in(5 * time.Minute)}},
		{"nor without memory", spare, observed{Busy: 1, Code: codeLoaded, Short: true}, hot, decision{Next: in(5 * time.Minute)}},
		{"one at a time after a failure", spare, observed{Code: codeLoaded}, state{LastUsed: ago(time.Minute), Failures: 1}, decision{Start: 1, Next: in(4 * time.Minute)}},
		{"they stay while hot", spare, observed{Ready: []time.Time{ago(6 * time.Minute), ago(6 * time.Minute), ago(6 * time.Minute)}, Code: codeLoaded}, hot,
			decision{Stop: 1, Why: whyIdle, Next: in(4 * time.Minute)}},

		{"memory takes the idle", wasm, observed{Ready: []time.Time{ago(time.Minute)}, Code: codeLoaded, Reclaim: 1}, hot, decision{Stop: 1, Why: whyMemory}},
		{"no more than needed", wasm, observed{Ready: []time.Time{ago(time.Minute), now}, Code: codeLoaded, Reclaim: 1}, hot,
			decision{Stop: 1, Why: whyMemory, Next: in(4 * time.Minute)}},
		{"not the busy", wasm, observed{Busy: 2, Code: codeLoaded, Reclaim: 2}, hot, decision{Next: in(5 * time.Minute)}},
		{"beside the busy", wasm, observed{Busy: 2, Ready: []time.Time{ago(time.Minute)}, Code: codeLoaded, Reclaim: 2}, hot, decision{Stop: 1, Why: whyMemory, Next: in(4 * time.Minute)}},
		{"code is given up", wasm, observed{Code: codeLoaded}, state{LastUsed: ago(time.Minute), GiveUp: true}, decision{Unload: true, Why: whyMemory}},
		{"after its instances", wasm, observed{Code: codeLoaded, Leaving: 1}, state{LastUsed: ago(time.Minute), GiveUp: true}, decision{}},
		{"not if a call needs it after all", wasm, observed{Calls: 1, Code: codeLoaded}, state{LastUsed: ago(time.Minute), GiveUp: true}, decision{Start: 1, Next: in(5 * time.Minute)}},
		{"no spare without memory", wasm, observed{Code: codeLoaded, Short: true}, hot, decision{Next: in(4 * time.Minute)}},
		{"a call needs none", wasm, observed{Calls: 1, Code: codeLoaded, Short: true}, hot, decision{Start: 1, Next: in(5 * time.Minute)}},
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
		sp := spec{Max: rapid.IntRange(1, 5).Draw(t, "max"), Spare: rapid.IntRange(0, 3).Draw(t, "spare"), Idle: 5 * time.Minute, KeepCode: rapid.Bool().Draw(t, "keep")}
		o := observed{
			Calls: few.Draw(t, "calls"), Wakers: few.Draw(t, "wakers"), Preparers: few.Draw(t, "preparers"), Deploys: few.Draw(t, "deploys"),
			Ready: rapid.SliceOfN(when, 0, 4).Draw(t, "ready"), Busy: few.Draw(t, "busy"), Resetting: few.Draw(t, "resetting"),
			Starting: few.Draw(t, "starting"), Leaving: few.Draw(t, "leaving"),
			Code: codeState(rapid.IntRange(0, 3).Draw(t, "code")), Stopping: rapid.Bool().Draw(t, "stopping"),
			Rush: rapid.Bool().Draw(t, "rush"), Short: rapid.Bool().Draw(t, "short"), Reclaim: few.Draw(t, "reclaim"),
		}
		slices.SortFunc(o.Ready, time.Time.Compare)
		st := state{LastUsed: when.Draw(t, "used"), Failures: few.Draw(t, "failures"), RetryAt: when.Draw(t, "retry"),
			Deployed: rapid.Bool().Draw(t, "deployed"), GiveUp: rapid.Bool().Draw(t, "give up")}
		after, d := decide(sp, o, st, now)
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
		case d.Start > 0 && o.Calls+o.Wakers == 0 && (o.Short || o.Rush):
			t.Fatalf("starts a spare one where it is in the way: %+v", d)
		case d.Stop < min(o.Reclaim, len(o.Ready)) && o.Calls+o.Wakers == 0:
			t.Fatalf("keeps what is to be reclaimed: %+v", d)
		case (d.Why != "") != (d.Stop > 0 || d.Unload):
			t.Fatalf("gives no reason, or one for nothing: %+v", d)
		case d.Unload && d.Why == whyUnwanted && (st.Deployed || !after.LastUsed.IsZero() || o.Deploys > 0):
			t.Fatalf("calls unwanted what somebody wants: %+v", d)
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
		sp := spec{Max: rapid.IntRange(1, 5).Draw(t, "max"), Spare: rapid.IntRange(0, 3).Draw(t, "spare"), Idle: 5 * time.Minute, KeepCode: rapid.Bool().Draw(t, "keep")}
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
