package queue

import "time"

const (
	// classStep is the device time that a class is worth: a call is as urgent as one of the next class whose caller has
	// used so much less. It is less than what a caller can have used, so that no class lets one caller keep out all others.
	classStep = 30 * time.Second
	// ageing is how many times less a second of waiting counts than one of device time. The more it counts, the further
	// callers with long calls come from equal shares: their next ones have waited longer.
	ageing = 8
)

// minCost is what a call counts of which nothing is known: enough that callers alternate.
const minCost = time.Millisecond

func (e Entry) atLeast() time.Duration { return max(e.Cost, minCost) }

// contender is a line that waits, and share what its caller has used.
type contender struct {
	entries []int // not served yet
	score   time.Duration
	share   *time.Duration
}

// Order returns the indices of entries, which are in the order of their arrival, in the order in which they are served if
// slots are free now: the next one is the first. Of those behind it, it is what will happen if nobody else comes.
func Order(entries []Entry, s *Shares, now time.Time) []int {
	waiting := contenders(entries, s, now)
	order := make([]int, 0, len(entries))
	for range entries {
		best := -1
		for i, c := range waiting {
			if len(c.entries) > 0 && (best < 0 || before(c, waiting[best])) {
				best = i
			}
		}
		c := waiting[best]
		next := entries[c.entries[0]]
		order, c.entries = append(order, c.entries[0]), c.entries[1:]
		*c.share += next.atLeast()
		c.score = time.Duration(next.class()) * classStep // it was served just now
	}
	return order
}

func before(a, b *contender) bool {
	as, bs := a.score+*a.share, b.score+*b.share
	return as < bs || as == bs && a.entries[0] < b.entries[0]
}

// contenders returns the lines in the order of their first entries.
func contenders(entries []Entry, s *Shares, now time.Time) []*contender {
	var list []*contender
	lines := map[line]*contender{}
	shares := map[string]*time.Duration{}
	for i, e := range entries {
		c := lines[e.line()]
		if c == nil {
			if shares[e.Caller] == nil {
				used := s.Used(e.Caller, now)
				shares[e.Caller] = &used
			}
			c = &contender{score: e.score(s, now), share: shares[e.Caller]}
			lines[e.line()] = c
			list = append(list, c)
		}
		c.entries = append(c.entries, i)
	}
	return list
}

// score is what the doc of the package says, but for the share, of the first entry of a line.
func (e Entry) score(s *Shares, now time.Time) time.Duration {
	since := e.Arrived
	if a := s.accounts[e.Caller]; a != nil && a.served[e.class()].After(since) {
		since = a.served[e.class()]
	}
	return time.Duration(e.class())*classStep - now.Sub(since)/ageing
}
