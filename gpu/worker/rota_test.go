package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestRota_Fair: between two turns of one, everyone else of the same caller who waited all the while has had one; between
// two turns of a caller, so has every other caller; nobody waits while nobody has the turn; and who has left gets none.
func TestRota_Fair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const people = 9
		callers := rapid.SampledFrom([]int{1, 2, 3, people}).Draw(t, "callers")
		of := func(who int) string { return string(rune('a' + who%callers)) }
		var r rota[int]
		holder := -1
		waiting := map[int]map[int]bool{}     // who waits: who had a turn since they came
		lines := map[string]map[string]bool{} // what callers wait: which had a turn since one of theirs came, or had a turn
		waits := func(caller string) bool {
			for who := range waiting {
				if of(who) == caller {
					return true
				}
			}
			return false
		}
		begin := func(who int) {
			holder = who
			delete(waiting, who)
			for other, seen := range waiting {
				if seen[who] && of(other) == of(who) {
					t.Fatalf("%d had two turns while %d of the same caller waited for one", who, other)
				}
				seen[who] = true
			}
			delete(lines, of(who))
			for other, seen := range lines {
				if seen[of(who)] {
					t.Fatalf("caller %s had two turns while caller %s waited for one", of(who), other)
				}
				seen[of(who)] = true
			}
			if waits(of(who)) {
				lines[of(who)] = map[string]bool{}
			}
		}
		for range 200 {
			who := rapid.IntRange(0, people-1).Draw(t, "who")
			switch {
			case who == holder:
				next, ok := r.pass()
				holder = -1
				if ok != (len(waiting) > 0) {
					t.Fatalf("a next: %v, while %d wait", ok, len(waiting))
				}
				if ok {
					if waiting[next] == nil {
						t.Fatalf("%d has the turn and did not wait for it", next)
					}
					begin(next)
				}
			case waiting[who] == nil:
				if now := r.join(who, of(who)); now != (holder < 0) {
					t.Fatalf("at once: %v, while %d has the turn", now, holder)
				} else if now {
					begin(who)
					continue
				}
				waiting[who] = map[int]bool{}
				if lines[of(who)] == nil {
					lines[of(who)] = map[string]bool{}
				}
			case rapid.IntRange(0, 4).Draw(t, "leave") == 0:
				if !r.leave(who, of(who)) {
					t.Fatalf("%d waits and can't leave", who)
				}
				delete(waiting, who)
				if !waits(of(who)) {
					delete(lines, of(who))
				}
			}
		}
		if r.leave(-1, "a") {
			t.Fatal("one who never came has left")
		}
	})
}

// TestTurns_RandomDepartures: one at a time is in, and those whose context ends are out at once with its cause.
func TestTurns_RandomDepartures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns turns
		var wg sync.WaitGroup
		errGone := errors.New("gone")
		inside, done, gone := 0, 0, 0 // by whoever has the turn, but gone
		var mu sync.Mutex
		for i := range 50 {
			ctx, cancel := context.WithCancelCause(t.Context())
			wg.Go(func() {
				time.Sleep(time.Duration(i*i%17) * time.Millisecond)
				for range 20 {
					began := time.Now()
					err := turns.do(ctx, "", func() error {
						if inside++; inside != 1 {
							t.Error("two have the turn")
						}
						time.Sleep(time.Millisecond)
						inside--
						done++
						return nil
					})
					if err == nil && time.Since(began) > 50*time.Millisecond {
						t.Errorf("waited for %v among 50 others", time.Since(began))
					}
					if err != nil {
						if !errors.Is(err, errGone) {
							t.Error(err)
						}
						mu.Lock()
						gone++
						mu.Unlock()
						return
					}
				}
			})
			if i%3 == 0 {
				wg.Go(func() {
					time.Sleep(time.Duration(i*7) * time.Millisecond / 2)
					cancel(errGone)
				})
			} else {
				defer cancel(nil)
			}
		}
		wg.Wait()
		if gone != 17 || done < 33*20 || turns.rota.busy || len(turns.rota.lines) != 0 {
			t.Errorf("%d are gone, %d turns were taken, and then: %+v", gone, done, turns.rota)
		}
		if err := turns.do(t.Context(), "", func() error { return errGone }); err != errGone {
			t.Errorf("got %v, want the func's error", err)
		}
	})
}

func TestTurns_OrderIsThatOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns turns
		var order []int
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				for range 4 {
					_ = turns.do(t.Context(), "", func() error {
						order = append(order, i)
						time.Sleep(time.Second)
						return nil
					})
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if want := slices.Repeat([]int{0, 1, 2, 3, 4}, 4); !slices.Equal(order, want) {
			t.Errorf("turns went to %v, want %v", order, want)
		}
	})
}
