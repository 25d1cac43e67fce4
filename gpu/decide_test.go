package gpu

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return epoch.Add(d) }

func TestDecide(t *testing.T) {
	const idle = 5 * time.Minute
	p := defaultPolicy
	up := state{alive: true, startedAt: epoch}
	one := func(worker phase, m modelView) observed {
		m.idleAfter, m.lastUse, m.slots = idle, epoch, 2
		return observed{worker, []modelView{m}}
	}
	tests := []struct {
		name  string
		seen  observed
		state state
		now   time.Duration
		want  decision
	}{
		{"nothing is wanted", one(phaseDown, modelView{tier: TierCold}), state{}, 0, decision{}},
		{"a call starts the worker", one(phaseDown, modelView{tier: TierCold, callers: 1}), state{}, 0, decision{start: true}},
		{"so does a wake", one(phaseDown, modelView{tier: TierCold, wakers: 1}), state{}, 0, decision{start: true}},
		{"while it starts, one waits", one(phaseStarting, modelView{tier: TierCold, callers: 1}), up, 0, decision{}},
		{"cold is loaded", one(phaseUp, modelView{tier: TierCold, callers: 1}), up, 0, decision{models: []action{actLoad}}},
		{"parked is woken", one(phaseUp, modelView{tier: TierParked, wakers: 1}), up, 0, decision{models: []action{actWake}}},
		{"one action at a time", one(phaseUp, modelView{tier: TierCold, callers: 1, moving: true}), up, 0, decision{}},
		{"hot and free is lent", one(phaseUp, modelView{tier: TierHot, callers: 2}), up, 0, decision{models: []action{actServe}, next: at(idle)}},
		{"hot and partly lent is, too", one(phaseUp, modelView{tier: TierHot, callers: 2, leases: 1}), up, 0, decision{models: []action{actServe}, next: at(idle)}},
		{"hot and lent is not", one(phaseUp, modelView{tier: TierHot, callers: 2, leases: 2}), up, 0, decision{}},
		{"but wakers need no lease", one(phaseUp, modelView{tier: TierHot, wakers: 1, leases: 2}), up, 0, decision{models: []action{actServe}, next: at(idle)}},
		{"idle, not long enough", one(phaseUp, modelView{tier: TierHot}), up, idle - 1, decision{next: at(idle)}},
		{"idle long enough", one(phaseUp, modelView{tier: TierHot}), up, idle, decision{models: []action{actPark}}},
		{"lent is not idle", one(phaseUp, modelView{tier: TierHot, leases: 1}), up, 2 * idle, decision{}},
		{"parked, not long enough", one(phaseUp, modelView{tier: TierParked}), up, idle, decision{next: at(idle + p.coldAfter)}},
		{"parked long enough", one(phaseUp, modelView{tier: TierParked}), up, idle + p.coldAfter, decision{models: []action{actUnload}}},
		{"no engine", one(phaseMissing, modelView{tier: TierCold, callers: 1}), up, 0, decision{models: []action{actRefuse}}},
		{"perhaps there is one now", one(phaseMissing, modelView{tier: TierCold, callers: 1}), state{failures: 1, notBefore: epoch}, 0, decision{start: true}},
		{"nobody asks for one", one(phaseMissing, modelView{tier: TierCold}), state{failures: 1, notBefore: epoch}, 0, decision{}},
		{"it just ended: wait", one(phaseDown, modelView{tier: TierCold, callers: 1}), up, time.Second, decision{next: at(time.Second + p.backoffMin)}},
		{"it ended after a good life", one(phaseDown, modelView{tier: TierCold, callers: 1}), up, p.stable, decision{start: true}},
		{"it ended after an answer", one(phaseDown, modelView{tier: TierCold, callers: 1}), state{alive: true, startedAt: epoch, failures: 5, proven: true}, time.Second, decision{start: true}},
		{"the wait is over", one(phaseDown, modelView{tier: TierCold, callers: 1}), state{failures: 3, notBefore: epoch}, 0, decision{start: true}},
	}
	for _, tt := range tests {
		if tt.want.models == nil {
			tt.want.models = []action{actNone}
		}
		_, got := decide(p, tt.seen, tt.state, at(tt.now))
		if diff := cmp.Diff(got, tt.want, cmp.AllowUnexported(decision{})); diff != "" {
			t.Errorf("%s (-got +want)\n%s", tt.name, diff)
		}
	}
}

func TestDecide_BackoffGrowsToItsMaximum(t *testing.T) {
	p := defaultPolicy
	seen := observed{phaseDown, []modelView{{tier: TierCold, callers: 1}}}
	var s state
	now := epoch
	var waits []time.Duration
	for range 40 {
		var d decision
		if s, d = decide(p, seen, s, now); !d.start {
			t.Fatalf("no start at %v: %+v", now, d)
		}
		// It ends at once.
		if s, d = decide(p, seen, s, now); d.start {
			t.Fatal("started again without a wait")
		}
		waits = append(waits, d.next.Sub(now))
		now = d.next
	}
	want := []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000}
	for i := range want {
		want[i] *= time.Millisecond
	}
	if diff := cmp.Diff(waits[:len(want)], want); diff != "" || waits[39] != p.backoffMax {
		t.Errorf("waits (-got +want)\n%s\nlast %v", diff, waits[39])
	}
}

// TestDecide_AnAnswerEndsTheBackoff: each worker dies after one answer, and the next starts at once; those that die
// without one still wait longer each time.
func TestDecide_AnAnswerEndsTheBackoff(t *testing.T) {
	seen := observed{phaseDown, []modelView{{tier: TierCold, callers: 1}}}
	var s state
	now := epoch
	next := func(serves bool) time.Duration {
		t.Helper()
		var d decision
		if s, d = decide(defaultPolicy, seen, s, now); !d.start {
			t.Fatalf("no start at %v: %+v", now, d)
		}
		now = now.Add(time.Millisecond)
		if serves {
			s = s.served()
		}
		if s, d = decide(defaultPolicy, seen, s, now); d.start {
			s.alive = false // not this one: only its time counts
			return 0
		}
		wait := d.next.Sub(now)
		now = d.next
		return wait
	}
	var waits []time.Duration
	for _, serves := range []bool{false, false, false, true, true, true, false, false, true} {
		waits = append(waits, next(serves))
	}
	want := []time.Duration{100, 200, 400, 0, 0, 0, 100, 200, 0}
	for i := range want {
		want[i] *= time.Millisecond
	}
	if diff := cmp.Diff(waits, want); diff != "" {
		t.Errorf("waits (-got +want)\n%s", diff)
	}
}

func TestDecide_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := defaultPolicy
		now := at(time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "now")))
		moment := rapid.Custom(func(t *rapid.T) time.Time {
			return at(time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "at")))
		})
		seen := observed{worker: phase(rapid.IntRange(0, 3).Draw(t, "worker"))}
		wanted := false
		for range rapid.IntRange(0, 4).Draw(t, "models") {
			m := modelView{
				tier:      rapid.SampledFrom([]Tier{TierHot, TierParked, TierCold}).Draw(t, "tier"),
				moving:    rapid.Bool().Draw(t, "moving"),
				slots:     rapid.IntRange(1, 3).Draw(t, "slots"),
				callers:   rapid.IntRange(0, 2).Draw(t, "callers"),
				wakers:    rapid.IntRange(0, 2).Draw(t, "wakers"),
				idleAfter: time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "idle")),
				lastUse:   moment.Draw(t, "lastUse"),
			}
			m.leases = rapid.IntRange(0, m.slots).Draw(t, "leases")
			wanted = wanted || m.wanted()
			seen.models = append(seen.models, m)
		}
		s := state{
			alive:     rapid.Bool().Draw(t, "alive"),
			startedAt: moment.Draw(t, "startedAt"),
			proven:    rapid.Bool().Draw(t, "proven"),
			failures:  rapid.IntRange(0, 100).Draw(t, "failures"),
			notBefore: moment.Draw(t, "notBefore"),
		}
		after, d := decide(p, seen, s, now)

		stopped := seen.worker == phaseDown || seen.worker == phaseMissing
		if d.start && (!stopped || !wanted || now.Before(after.notBefore)) {
			t.Fatal("a start that nobody needs, or too soon")
		}
		if seen.worker == phaseDown && wanted && !d.start && d.next.IsZero() {
			t.Fatal("a start is needed, and never comes")
		}
		if !d.next.IsZero() && !d.next.After(now) {
			t.Fatalf("decide again at %v, which is not after %v", d.next, now)
		}
		if after.notBefore.Sub(now) > p.backoffMax && after.notBefore != s.notBefore {
			t.Fatalf("a wait of %v", after.notBefore.Sub(now))
		}
		for i, m := range seen.models {
			a := d.models[i]
			switch {
			case m.moving && a != actNone:
				t.Fatal("two actions on one model")
			case a == actRefuse && seen.worker != phaseMissing, a != actRefuse && a != actNone && seen.worker != phaseUp:
				t.Fatal("an action that the worker can't do")
			case (a == actPark || a == actUnload) && (m.wanted() || m.leases > 0 && a == actPark):
				t.Fatal("a model in use was put away")
			case a == actServe && m.tier != TierHot, a == actLoad && m.tier != TierCold, a == actWake && m.tier != TierParked:
				t.Fatal("an action from the wrong tier")
			case seen.worker == phaseMissing && m.wanted() && !m.moving && (a == actRefuse) == d.start:
				t.Fatal("somebody waits for an engine, and is neither refused nor has it tried; or both")
			case seen.worker == phaseUp && m.wanted() && !m.moving && a == actNone && !(m.tier == TierHot && m.leases == m.slots && m.wakers == 0):
				t.Fatal("somebody waits, and nothing is done")
			case seen.worker == phaseUp && m.tier == TierHot && !m.moving && m.leases == 0 && a == actNone && d.next.IsZero():
				t.Fatal("an idle model stays for ever")
			}
		}
	})
}
