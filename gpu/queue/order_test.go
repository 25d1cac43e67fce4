package queue

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/catenary-run/catenary/functions"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

var priorities = []functions.Priority{functions.PriorityInteractive, functions.PriorityNormal, functions.PriorityBatch}

// model is a queue before one device: what package gpu does with this package, with time that passes by itself.
type model struct {
	now     time.Time
	slots   int
	shares  Shares
	entries []Entry
	under   []*job
	took    map[string]time.Duration // device time by caller
}

type job struct {
	entry Entry
	loan  *Loan
	left  time.Duration
}

func newModel(slots int) *model {
	return &model{now: start, slots: slots, took: map[string]time.Duration{}}
}

func (m *model) join(e Entry) {
	e.Arrived = m.now
	m.shares.Admit(e, m.entries, m.now)
	m.entries = append(m.entries, e)
}

// serve lends the free slots, and returns who got one, each with the entries that it was preferred to.
func (m *model) serve() (served []Entry, over [][]Entry) {
	for len(m.under) < m.slots && len(m.entries) > 0 {
		i := Order(m.entries, &m.shares, m.now)[0]
		e := m.entries[i]
		m.entries = slices.Delete(m.entries, i, i+1)
		m.under = append(m.under, &job{e, m.shares.Lend(e, m.now), e.Cost})
		served, over = append(served, e), append(over, slices.Clone(m.entries))
	}
	return served, over
}

// work lets the device work for d at most, on all who have a slot in turns, but no longer than until one of them ends.
func (m *model) work(d time.Duration) {
	if len(m.under) == 0 {
		m.now = m.now.Add(d)
		return
	}
	n := time.Duration(len(m.under))
	each := max(1, d/n)
	for _, j := range m.under {
		each = min(each, j.left)
	}
	m.now = m.now.Add(each * n)
	for _, j := range m.under {
		m.shares.Charge(j.loan, each, m.now)
		m.took[j.entry.Caller] += each
		if j.left -= each; j.left == 0 {
			m.shares.Return(j.loan, true, m.now)
		}
	}
	m.under = slices.DeleteFunc(m.under, func(j *job) bool { return j.left == 0 })
}

func drawEntry(t *rapid.T) Entry {
	return Entry{
		Caller:   rapid.SampledFrom([]string{"", "ann", "bob", "cy"}).Draw(t, "caller"),
		Priority: rapid.SampledFrom(priorities).Draw(t, "priority"),
		Cost:     time.Duration(rapid.Int64Range(int64(minCost), int64(20*time.Second)).Draw(t, "cost")),
	}
}

// TestOrder_NobodyStarves: whoever is served before the first of another line came no later than that one's share and class
// allow. And calls of one caller and one priority are served in the order in which they came.
func TestOrder_NobodyStarves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(rapid.IntRange(1, 4).Draw(t, "slots"))
		firstSince := map[line]time.Time{} // since when the first of a line is the first
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			for range rapid.IntRange(0, 3).Draw(t, "joins") {
				e := drawEntry(t)
				m.join(e)
				if _, waits := firstSince[e.line()]; !waits {
					firstSince[e.line()] = m.now
				}
			}
			served, over := m.serve()
			for i, e := range served {
				delete(firstSince, e.line())
				for _, other := range over[i] {
					if other.line() == e.line() && other.Arrived.Before(e.Arrived) {
						t.Fatalf("%+v was served before %+v of the same line", e, other)
					}
					if _, waits := firstSince[other.line()]; !waits {
						firstSince[other.line()] = m.now // it has become the first
					}
					allowed := ageing * (m.shares.Used(other.Caller, m.now) + time.Duration(other.class())*classStep)
					if later := e.Arrived.Sub(firstSince[other.line()]); later > allowed {
						t.Fatalf("%+v was served before %+v, which is the first of its line since %v: it came %v later, more than %v", e, other, firstSince[other.line()], later, allowed)
					}
				}
			}
			m.work(time.Duration(rapid.Int64Range(1, int64(time.Minute)).Draw(t, "work")))
			// What has served a line since begins its wait anew, as the end of a call does.
			for l := range firstSince {
				if a := m.shares.accounts[l.caller]; a != nil && a.served[l.class].After(firstSince[l]) {
					firstSince[l] = a.served[l.class]
				}
			}
		}
	})
}

// TestOrder_StreamOfNewCallers: others who have used nothing come all the time, and still everybody who waits is served
// within a time that depends on its priority alone.
func TestOrder_StreamOfNewCallers(t *testing.T) {
	for class, priority := range priorities {
		m := newModel(1)
		m.join(Entry{Caller: "hog", Cost: time.Minute})
		m.serve()
		m.work(time.Minute)
		m.join(Entry{Caller: "hog", Priority: priority, Cost: time.Second})
		came := m.now
		for i := 0; ; i++ {
			m.join(Entry{Caller: fmt.Sprint("new ", i), Priority: functions.PriorityInteractive, Cost: time.Second})
			served, _ := m.serve()
			if served[0].Caller == "hog" {
				break
			}
			m.work(time.Second)
			if most := ageing * (time.Minute + time.Duration(class)*classStep); m.now.Sub(came) > most {
				t.Fatalf("priority %q: it waits for %v, more than %v", priority, m.now.Sub(came), most)
			}
		}
	}
}

// TestOrder_SharesConverge: callers who all have calls waiting all the time get equal parts of the device time, to a
// quarter, whatever each of their calls takes. (It is not equal to the last: while long calls run others age.)
func TestOrder_SharesConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(rapid.SampledFrom([]int{1, 2, 4}).Draw(t, "slots"))
		costs := make([]time.Duration, rapid.IntRange(2, 5).Draw(t, "callers"))
		for i := range costs {
			costs[i] = time.Duration(rapid.Int64Range(int64(300*time.Millisecond), int64(5*time.Second)).Draw(t, "cost"))
		}
		for i, cost := range costs {
			for range m.slots + 1 {
				m.join(Entry{Caller: fmt.Sprint(i), Cost: cost})
			}
		}
		const long = 10 * time.Minute
		for m.now.Before(at(long)) {
			served, _ := m.serve()
			for _, e := range served {
				m.join(e)
			}
			m.work(time.Hour)
		}
		fair := long / time.Duration(len(costs))
		for i, cost := range costs {
			if took := m.took[fmt.Sprint(i)]; took < fair*3/4 || took > fair*5/4 {
				t.Fatalf("caller %d, whose calls take %v, got %v of %v, want about %v: %v", i, cost, took, long, fair, m.took)
			}
		}
	})
}

// TestOrder_AgainstAFlood: one caller keeps the queue full. Another one that asks now and then, or again as soon as it
// has its answer, is next whenever it comes: it waits for the call that is under way, and no second one. It does not
// matter what it used before the flood began.
func TestOrder_AgainstAFlood(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(1)
		cost := time.Duration(rapid.Int64Range(int64(10*time.Millisecond), int64(20*time.Second)).Draw(t, "cost"))
		for range rapid.IntRange(0, 20).Draw(t, "calls before") {
			m.join(Entry{Caller: "ann", Cost: cost})
			m.serve()
			m.work(time.Hour)
		}
		flood := func() {
			for len(m.entries) < 64 {
				m.join(Entry{Caller: "flood", Cost: cost})
			}
		}
		flood()
		m.serve()
		for range rapid.IntRange(1, 30).Draw(t, "calls") {
			pause := time.Duration(rapid.Int64Range(0, int64(3*cost)).Draw(t, "pause"))
			for until := m.now.Add(pause); m.now.Before(until); {
				m.work(until.Sub(m.now))
				m.serve()
				flood()
			}
			m.join(Entry{Caller: "ann", Cost: cost})
			came := m.now
			for waits := true; waits; {
				m.work(time.Hour)
				served, _ := m.serve()
				flood()
				waits = served[0].Caller != "ann"
			}
			if m.now.Sub(came) > cost {
				t.Fatalf("a call waits %v behind calls that take %v", m.now.Sub(came), cost)
			}
			m.work(time.Hour)
			m.serve()
			flood()
		}
	})
}

// TestOrder_WhoComesLater has nothing saved up: from then on it gets as much as a caller that had the device for itself,
// and no more, to a call or two.
func TestOrder_WhoComesLater(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(1)
		cost := time.Duration(rapid.Int64Range(int64(100*time.Millisecond), int64(5*time.Second)).Draw(t, "cost"))
		turn := func() {
			served, _ := m.serve()
			m.join(served[0])
			m.work(time.Hour)
		}
		for range 2 {
			m.join(Entry{Caller: "ann", Cost: cost})
		}
		for range rapid.IntRange(1, 200).Draw(t, "alone") {
			turn()
		}
		for range 2 {
			m.join(Entry{Caller: "bob", Cost: cost})
		}
		clear(m.took)
		for range rapid.IntRange(1, 50).Draw(t, "beside") {
			turn()
			if ahead := m.took["bob"] - m.took["ann"]; ahead.Abs() > 2*cost {
				t.Fatalf("bob is %v ahead of ann, with calls of %v", ahead, cost)
			}
		}
	})
}

func TestOrder(t *testing.T) {
	used := func(caller string, d time.Duration) func(*Shares) {
		return func(s *Shares) { s.Charge(s.Lend(Entry{Caller: caller}, start), d, start) }
	}
	entry := func(caller string, p functions.Priority, came time.Duration) Entry {
		return Entry{Caller: caller, Priority: p, Arrived: at(came), Cost: time.Second}
	}
	const urgent, normal, batch = functions.PriorityInteractive, functions.PriorityNormal, functions.PriorityBatch
	tests := []struct {
		name    string
		used    func(*Shares)
		entries []Entry
		want    []int
	}{
		{"nobody", nil, nil, []int{}},
		{"one caller", nil, []Entry{entry("", normal, 0), entry("", normal, 0), entry("", normal, 0)}, []int{0, 1, 2}},
		{"classes", nil, []Entry{entry("", batch, 0), entry("", normal, 0), entry("", urgent, 0)}, []int{2, 1, 0}},
		{"callers alternate", nil, []Entry{entry("a", normal, 0), entry("a", normal, 0), entry("b", normal, 0)}, []int{0, 2, 1}},
		{"who has used less catches up", used("a", 2500*time.Millisecond), []Entry{entry("a", normal, 0), entry("b", normal, 0), entry("b", normal, 0), entry("b", normal, 0), entry("b", normal, 0)}, []int{1, 2, 3, 0, 4}},
		{"a class is worth half a minute", used("a", 31*time.Second), []Entry{entry("a", urgent, 0), entry("b", normal, 0)}, []int{1, 0}},
		{"and no more", used("a", 29*time.Second), []Entry{entry("b", normal, 0), entry("a", urgent, 0)}, []int{1, 0}},
		{"who waits ages", nil, []Entry{entry("a", normal, -241*time.Second), entry("b", urgent, 0)}, []int{0, 1}},
		{"slowly", nil, []Entry{entry("a", normal, -239*time.Second), entry("b", urgent, 0)}, []int{1, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s Shares
			if tt.used != nil {
				tt.used(&s)
			}
			if diff := cmp.Diff(Order(tt.entries, &s, start), tt.want); diff != "" {
				t.Errorf("(-got +want)\n%s", diff)
			}
		})
	}
}
