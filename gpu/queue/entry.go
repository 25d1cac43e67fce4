package queue

import (
	"time"

	"github.com/catenary-run/catenary/functions"
)

// Entry is one call that waits for a slot of a model.
type Entry struct {
	Caller   string
	Priority functions.Priority
	Arrived  time.Time
	Deadline time.Time     // zero if there is none
	Cost     time.Duration // device time that it is predicted to take; zero if nothing is known
}

// classes is how many priorities there are.
const classes = 3

// class returns 0 for the most urgent priority, and at most classes-1.
func (e Entry) class() int {
	switch e.Priority {
	case functions.PriorityInteractive:
		return 0
	case functions.PriorityBatch:
		return 2
	}
	return 1
}

// line is what entries are first come first served in.
type line struct {
	caller string
	class  int
}

func (e Entry) line() line { return line{e.Caller, e.class()} }
