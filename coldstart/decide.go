package coldstart

import "time"

// Pauses between starts that fail: none after the first failure, then this long, doubling up to the maximum. A call
// may have to wait for the end of a pause, so the maximum is what a caller can bear.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

// spec is what does not change about a pool.
type spec struct {
	Max      int           // instances
	Idle     time.Duration // how long an unused version stays hot
	KeepCode bool          // whether the code stays when the instances have gone
}

// codeState is how far the code of a version is.
type codeState int

const (
	codeNone codeState = iota
	codeLoading
	codeLoaded
	codeUnloading
)

// observed is what there is of a pool at the moment of a decision.
type observed struct {
	Calls     int         // that wait for an instance
	Wakers    int         // that wait until one instance is there
	Preparers int         // that wait until the code is there
	Ready     []time.Time // since when each ready instance has been unused, the oldest first
	Busy      int         // instances that serve
	Resetting int         // instances that will be ready, or turn out to be spent
	Starting  int
	Leaving   int // instances that are being closed: they need the code, and count for nothing else
	Code      codeState
	Rush      bool // starts go on that somebody waits for, on the whole node
	Stopping  bool // the whole node shuts down
}

// alive counts the instances that are there or on their way.
func (o observed) alive() int { return len(o.Ready) + o.Busy + o.Resetting + o.Starting }

// demand reports whether anybody waits.
func (o observed) demand() bool { return o.Calls+o.Wakers+o.Preparers > 0 }

// state is what a pool remembers from one decision to the next.
type state struct {
	LastUsed time.Time // the end of the latest call or wake
	Failures int       // starts that failed in a row
	RetryAt  time.Time // no start before this
}

// failed returns the state after a start that failed, or after an instance that died unused.
func (s state) failed(now time.Time) state {
	s.Failures++
	s.RetryAt = now
	if s.Failures > 1 {
		// The shift is bounded first: 6 doublings pass the maximum.
		s.RetryAt = now.Add(min(firstPause<<min(s.Failures-2, 6), maxPause))
	}
	return s
}

// served returns the state after a call that its instance survived.
func (s state) served() state {
	s.Failures, s.RetryAt = 0, time.Time{}
	return s
}

// decision is what to do about a pool.
type decision struct {
	Load   bool
	Unload bool
	Start  int
	Stop   int       // of the ready instances, the oldest
	Defer  bool      // decide again when the rush is over
	Next   time.Time // when to decide again if nothing happens before; zero: never
}

// decide says what to do about one pool.
//
//	wanted  = one instance per call, running or waiting; at least one while somebody wakes the version or it is hot
//	start   = wanted (at most Max) - alive, once the code is there; one at a time after a failure. One that nobody waits
//	          for, to be there for the next call, leaves the processor to those that somebody waits for
//	stop    = ready instances that nobody has used for Idle, as far as they are not wanted
//	unload  = when nothing is alive any more, for a version whose code does not stay
func decide(sp spec, o observed, st state, now time.Time) (state, decision) {
	var d decision
	later := func(t time.Time) {
		if d.Next.IsZero() || t.Before(d.Next) {
			d.Next = t
		}
	}
	if o.Calls+o.Wakers+o.Busy > 0 {
		st.LastUsed = now
	}
	coolAt := st.LastUsed.Add(sp.Idle)
	hot := !st.LastUsed.IsZero() && now.Before(coolAt) && !o.Stopping

	wanted := o.Busy + o.Calls
	if wanted == 0 && (hot || o.Wakers > 0) {
		wanted = 1
	}
	wanted = min(wanted, sp.Max)
	missing := max(0, wanted-o.alive())
	if st.Failures > 0 {
		missing = max(0, min(missing, 1-o.Starting)) // one start tries for all
	}
	paused := now.Before(st.RetryAt)
	if missing > 0 && o.Rush && o.Calls+o.Wakers == 0 && !o.Stopping {
		missing, d.Defer = 0, true
	}

	switch {
	case o.Stopping:
		d.Stop = len(o.Ready)
		d.Unload = o.Code == codeLoaded && o.alive() == 0 && o.Leaving == 0
		return st, d
	case o.Code == codeNone && o.demand() && paused,
		o.Code == codeLoaded && missing > 0 && paused:
		later(st.RetryAt)
	case o.Code == codeNone && o.demand():
		d.Load = true
	case o.Code == codeLoaded:
		d.Start = missing
	}

	spare := max(0, o.alive()-wanted)
	for _, since := range o.Ready {
		if d.Stop == spare {
			break
		}
		if idleAt := since.Add(sp.Idle); hot && now.Before(idleAt) {
			later(idleAt)
			break
		}
		d.Stop++
	}
	if hot {
		later(coolAt)
	}
	d.Unload = o.Code == codeLoaded && !sp.KeepCode && !hot && o.alive() == 0 && o.Leaving == 0 && !o.demand()
	return st, d
}
