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
	Spare    int           // instances beyond those in use that are ready while the version is hot; one is if none is in use
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
	Deploys   int         // that ask for the code and go on: some other function of theirs may fail
	Ready     []time.Time // since when each ready instance has been unused, the oldest first
	Busy      int         // instances that serve
	Resetting int         // instances that will be ready, or turn out to be spent
	Starting  int
	Leaving   int // instances that are being closed: they need the code, and count for nothing else
	Code      codeState
	Rush      bool // starts go on that somebody waits for, on the whole node
	Short     bool // the node has no memory for another instance, even if all that others do not use were given up
	Reclaim   int  // of the ready instances, the oldest: others need their memory
	Stopping  bool // the whole node shuts down
}

// alive counts the instances that are there or on their way.
func (o observed) alive() int { return len(o.Ready) + o.Busy + o.Resetting + o.Starting }

// demand reports whether anybody waits.
func (o observed) demand() bool { return o.Calls+o.Wakers+o.Preparers > 0 }

// state is what a pool remembers from one decision to the next.
type state struct {
	LastUsed time.Time // the end of the latest call or wake; the version cools at Idle after it
	Deployed bool      // a deploy passed with the version: its code is wanted though nobody has called yet
	GiveUp   bool      // others need the memory of its code, once its instances have gone
	Failures int       // starts that failed in a row
	RetryAt  time.Time // no start before this
}

// hot reports whether the version was used within its idle time.
func (s state) hot(idle time.Duration, now time.Time) bool {
	return !s.LastUsed.IsZero() && now.Before(s.LastUsed.Add(idle))
}

// cooled returns the state of a version that is not hot any more, until it is used again.
func (s state) cooled(idle time.Duration, now time.Time) state {
	s.LastUsed = now.Add(-idle)
	return s
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

// Why instances and code go.
const (
	whyIdle     = "idle"     // for the idle time
	whyMemory   = "memory"   // others need theirs
	whyUnwanted = "unwanted" // only those asked for the code that do not count: deploys that failed
	whyShutdown = "shutdown" // of the node
)

// decision is what to do about a pool.
type decision struct {
	Load   bool
	Unload bool
	Start  int
	Stop   int       // of the ready instances, the oldest
	Why    string    // instances stop or the code is unloaded
	Defer  bool      // decide again when the rush is over
	Next   time.Time // when to decide again if nothing happens before; zero: never
}

// decide says what to do about one pool.
//
//	needed  = one instance per call, running or waiting; at least one while somebody wakes the version
//	wanted  = needed, and while the version is hot the spare ones, one instance at least
//	start   = wanted (at most Max) - alive, once the code is there; one at a time after a failure. One that nobody waits
//	          for, to be there for the next call, leaves the processor to those that somebody waits for, and the memory
//	          to what is in use
//	stop    = ready instances that nobody has used for Idle, as far as they are not wanted; and what is to be reclaimed
//	unload  = when nothing is alive any more, and the code is not one that stays, is to be given up, or is unwanted
func decide(sp spec, o observed, st state, now time.Time) (state, decision) {
	var d decision
	later := func(t time.Time) {
		if d.Next.IsZero() || t.Before(d.Next) {
			d.Next = t
		}
	}
	waiting := o.Calls + o.Wakers
	if waiting+o.Busy > 0 {
		st.LastUsed = now
	}
	if o.demand() || o.Busy > 0 {
		st.GiveUp = false
	}
	reclaim := 0
	if waiting == 0 {
		reclaim = min(o.Reclaim, len(o.Ready))
	}
	if st.GiveUp || reclaim > 0 && reclaim == o.alive() {
		st = st.cooled(sp.Idle, now) // or another instance would be started in its place
	}
	coolAt := st.LastUsed.Add(sp.Idle)
	hot := st.hot(sp.Idle, now) && !o.Stopping

	needed := o.Busy + o.Calls
	if o.Wakers > 0 {
		needed = max(needed, 1)
	}
	wanted := needed
	if hot {
		wanted = max(needed+sp.Spare, 1)
	}
	needed, wanted = min(needed, sp.Max), min(wanted, sp.Max)
	missing := max(0, wanted-o.alive())
	if urgent := max(0, needed-o.alive()); missing > urgent && !o.Stopping {
		switch {
		case o.Short, waiting > 0: // who waits goes first: what ends the wait asks again
			missing = urgent
		case o.Rush:
			missing, d.Defer = urgent, true
		}
	}
	if st.Failures > 0 {
		missing = max(0, min(missing, 1-o.Starting)) // one start tries for all
	}
	paused := now.Before(st.RetryAt)

	switch {
	case o.Stopping:
		d.Stop = len(o.Ready)
		d.Unload = o.Code == codeLoaded && o.alive() == 0 && o.Leaving == 0
		d.why(whyShutdown)
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
	d.why(whyIdle)
	if reclaim > 0 {
		d.Stop = max(d.Stop, reclaim)
		d.why(whyMemory)
	}
	if hot {
		later(coolAt)
	}
	if o.Code == codeLoaded && !hot && o.alive() == 0 && o.Leaving == 0 && !o.demand() {
		unwanted := st.LastUsed.IsZero() && !st.Deployed && o.Deploys == 0
		d.Unload = !sp.KeepCode || st.GiveUp || unwanted
		switch {
		case st.GiveUp:
			d.why(whyMemory)
		case unwanted:
			d.why(whyUnwanted)
		default:
			d.why(whyIdle)
		}
	}
	return st, d
}

// why gives a reason to what stops or is unloaded, if something does.
func (d *decision) why(reason string) {
	if d.Stop > 0 || d.Unload {
		d.Why = reason
	}
}
