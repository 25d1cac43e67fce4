package gpu

import "time"

// phase is where the worker stands.
type phase int

const (
	phaseDown     phase = iota
	phaseStarting       // being launched
	phaseUp             // answers
	phaseMissing        // not running: the last one found no engine
)

// policy is what decide goes by.
type policy struct {
	backoffMin time.Duration // before the second start in a row
	backoffMax time.Duration
	stable     time.Duration // a worker that lived this long was well, as is one that has served: the next start waits no more
	coldAfter  time.Duration // a model parked this long is unloaded
}

var defaultPolicy = policy{
	backoffMin: 100 * time.Millisecond,
	backoffMax: 10 * time.Second,
	stable:     time.Minute,
	coldAfter:  time.Hour,
}

// observed is what decide sees of the world.
type observed struct {
	worker phase
	models []modelView
}

// modelView is what decide sees of one model.
type modelView struct {
	tier      Tier // hot, parked or cold
	moving    bool // an action is under way
	slots     int  // that it has while it is hot
	leases    int  // slots that are lent
	callers   int  // in the queue
	wakers    int  // waiting until it is hot
	idleAfter time.Duration
	lastUse   time.Time
}

func (m modelView) wanted() bool { return m.callers+m.wakers > 0 }

// state is what decide remembers of the worker's starts.
type state struct {
	alive     bool      // it was started, and has not been seen to end
	startedAt time.Time // of the last start
	proven    bool      // it has given a whole answer
	failures  int       // ends in a row that came too soon
	notBefore time.Time // of the next start
}

// action is what to do with one model.
type action int

const (
	actNone   action = iota
	actLoad          // cold to hot
	actWake          // parked to hot
	actServe         // tell the wakers that it is hot, and lend its free slots to the first callers
	actPark          // hot to parked
	actUnload        // parked to cold
	actRefuse        // there is no engine: fail everyone who waits
)

// decision is what to do now, and when to decide again if nothing happens before.
type decision struct {
	start  bool     // the worker
	models []action // one for each model seen
	next   time.Time
}

// decide is pure: it reads no clock and changes nothing.
func decide(p policy, seen observed, s state, now time.Time) (state, decision) {
	d := decision{models: make([]action, len(seen.models))}
	wake := func(at time.Time) {
		if d.next.IsZero() || at.Before(d.next) {
			d.next = at
		}
	}
	stopped := seen.worker == phaseDown || seen.worker == phaseMissing
	if s.alive && stopped {
		s = ended(p, s, now)
	}
	wanted := false
	for i, m := range seen.models {
		wanted = wanted || m.wanted()
		if m.moving {
			continue
		}
		switch seen.worker {
		case phaseMissing:
			// To wait until the next try would help nobody; to try for each call would cost a process each.
			if m.wanted() && now.Before(s.notBefore) {
				d.models[i] = actRefuse
			}
		case phaseUp:
			var at time.Time
			if d.models[i], at = decideModel(p, m, now); !at.IsZero() {
				wake(at)
			}
		}
	}
	switch {
	case !stopped || !wanted:
	case !now.Before(s.notBefore):
		d.start, s.alive, s.startedAt, s.proven = true, true, now, false
	case seen.worker == phaseDown:
		wake(s.notBefore)
	}
	return s, d
}

// decideModel says what to do with a model of a worker that is up, or when that may change with time alone.
func decideModel(p policy, m modelView, now time.Time) (action, time.Time) {
	switch {
	case m.tier == TierCold && m.wanted():
		return actLoad, time.Time{}
	case m.tier == TierParked && m.wanted():
		return actWake, time.Time{}
	case m.tier == TierHot && (m.wakers > 0 || m.callers > 0 && m.leases < m.slots):
		return actServe, now.Add(m.idleAfter) // nothing else may happen to it: a wake need not be followed by a call
	case m.tier == TierHot && m.leases == 0 && !m.wanted():
		return after(now, m.lastUse.Add(m.idleAfter), actPark)
	case m.tier == TierParked:
		return after(now, m.lastUse.Add(m.idleAfter+p.coldAfter), actUnload)
	}
	return actNone, time.Time{}
}

func after(now, at time.Time, a action) (action, time.Time) {
	if now.Before(at) {
		return actNone, at
	}
	return a, time.Time{}
}

// served returns the state after a whole answer of the worker: what ends it later is no fault of its start.
func (s state) served() state {
	s.proven = true
	return s
}

// ended notes that the worker ended, and when the next may start.
func ended(p policy, s state, now time.Time) state {
	s.alive = false
	if s.proven || now.Sub(s.startedAt) >= p.stable {
		s.failures, s.notBefore = 0, now
		return s
	}
	s.failures++
	wait := p.backoffMax
	if shift := s.failures - 1; shift < 20 { // beyond, the shift would overflow, and the maximum is long reached
		wait = min(p.backoffMin<<shift, p.backoffMax)
	}
	s.notBefore = now.Add(wait)
	return s
}
