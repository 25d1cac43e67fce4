package chains

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// timeUp reports whether err says that a time was over.
func timeUp(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, functions.ErrTimeLimit) || errors.Is(err, functions.ErrIdleLimit)
}

// use is how long a step has worked.
type use struct {
	*node
	busy time.Duration
}

// usesLocked returns how long each step has worked until now, the longest first; mu is held.
func (x *exec) usesLocked() []use {
	now := time.Now()
	busy := make([]time.Duration, len(x.plan.steps))
	for i, t := range x.timings {
		busy[i] = t.Busy
	}
	for c := range x.calls {
		busy[c.n.index] += c.busy(now)
	}
	var uses []use
	for i, n := range x.plan.steps {
		if busy[i] > 0 {
			uses = append(uses, use{n, busy[i]})
		}
	}
	slices.SortStableFunc(uses, func(a, b use) int { return cmp.Compare(b.busy, a.busy) })
	return uses
}

// withUseLocked adds to err which step has used how much of the run's time; mu is held.
func (x *exec) withUseLocked(err error) error {
	uses := x.usesLocked()
	if len(uses) == 0 {
		return err
	}
	parts := make([]string, len(uses))
	for i, u := range uses {
		parts[i] = u.step.Name + " " + short(u.busy)
	}
	return fmt.Errorf("%w; of %s so far: %s", err, short(time.Since(x.begin)), strings.Join(parts, ", "))
}

// slowestLocked returns the step that has worked longest of those that were under way when the run was over, or nothing if
// none has worked for a tenth of the run: then the time went by in waits for the caller. Mu is held.
func (x *exec) slowestLocked() string {
	live := slices.Clone(x.cut)
	for c := range x.calls {
		live[c.n.index] = true
	}
	for _, u := range x.usesLocked() {
		if live[u.index] && u.busy >= time.Since(x.begin)/10 {
			return u.step.Name
		}
	}
	return ""
}

// short returns d with the digits that matter.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
