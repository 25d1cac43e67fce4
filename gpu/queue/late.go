package queue

import "time"

// Busy is what a model is at.
type Busy struct {
	Slots int           // all of them, one at least
	Lent  int           // of them, in use
	Left  time.Duration // device time that the calls which have them are predicted to take still
}

// Refusal is an entry that can't finish before its deadline.
type Refusal struct {
	Index int
	Wait  time.Duration // predicted, until it has a slot
}

// Late returns the entries that can't finish in time, given the order in which they are served. One that need not wait is
// never among them, however little time it has: there is nothing better to come back to.
//
// The calls of a model share one device, so those that have a slot take what they and all before them cost. One that
// waits needs some of those to end; how long that takes is taken to be the same part of the cost as they are of the
// calls. For one slot this is exact.
func Late(entries []Entry, order []int, busy Busy, now time.Time) (late []Refusal) {
	ahead, jobs := busy.Left, busy.Lent
	for _, i := range order {
		e := entries[i]
		var wait time.Duration
		if ends := jobs - busy.Slots + 1; ends > 0 {
			wait = time.Duration(float64(ahead) * float64(ends) / float64(jobs))
		}
		if wait > 0 && !e.Deadline.IsZero() && now.Add(wait+e.Cost).After(e.Deadline) {
			late = append(late, Refusal{Index: i, Wait: wait})
			continue // those behind it wait for it no more
		}
		ahead += e.Cost
		jobs++
	}
	return late
}
