package queue

import (
	"math"
	"time"
)

const (
	// halfLife is after how long half of a caller's device time is forgotten: some conversations long, so that who was
	// greedy a while ago is not punished now.
	halfLife = time.Minute
	// lately is how long after its last use of the device a slot is kept free for a caller: its last answer is read or
	// spoken meanwhile.
	lately = time.Minute
	// forgotten is a use that decides nothing any more.
	forgotten = time.Millisecond
)

// Shares keeps book of what callers have used of one model's device while there were others who wanted it. The zero value
// is ready. It is for one goroutine at a time. The times that it is given may be out of order by a moment.
type Shares struct {
	accounts map[string]*account
	period   int // begins when somebody comes and nobody else is there: what was used before does not count
	swept    time.Time
}

// account is one caller's.
type account struct {
	used    time.Duration // in period, decayed until at
	at      time.Time
	period  int
	running time.Duration // of used, by the calls under way
	pending time.Duration // that these are predicted to take still
	loans   int           // calls under way
	served  [classes]time.Time
}

// Loan is a call that has a slot.
type Loan struct {
	account *account
	class   int
	begun   time.Time
	used    time.Duration
	left    time.Duration // of the prediction
	ended   bool
}

// Admit notes that e comes, while others wait. A caller who comes back, or for the first time, is put on a level with
// those who are there, as they were before the calls that are under way: otherwise who had the device for itself would pay
// for that when others come, and they could have it for themselves as long.
func (s *Shares) Admit(e Entry, waiting []Entry, now time.Time) {
	there := map[string]*account{}
	for _, w := range waiting {
		there[w.Caller] = s.account(w.Caller, now)
	}
	for caller, a := range s.accounts {
		if a.loans > 0 {
			there[caller] = a
		}
	}
	switch {
	case there[e.Caller] != nil:
		return
	case len(there) == 0:
		s.period++
		return
	}
	level := time.Duration(math.MaxInt64)
	for _, a := range there {
		level = min(level, max(0, s.decayed(a, now)-a.running))
	}
	a := s.account(e.Caller, now)
	s.set(a, max(level, s.decayed(a, now)), now)
}

// account returns that of a caller, and opens it if there is none.
func (s *Shares) account(caller string, now time.Time) *account {
	a := s.accounts[caller]
	if a == nil {
		s.sweep(now)
		a = &account{at: now}
		s.accounts[caller] = a
	}
	return a
}

// Used returns the device time of a caller that counts at now: what it has used lately, and what its calls under way are
// predicted to take.
func (s *Shares) Used(caller string, now time.Time) time.Duration {
	a := s.accounts[caller]
	if a == nil {
		return 0
	}
	return s.decayed(a, now) + a.pending
}

func (s *Shares) decayed(a *account, now time.Time) time.Duration {
	if a.period != s.period {
		return 0
	}
	return time.Duration(float64(a.used) * math.Exp2(-now.Sub(a.at).Seconds()/halfLife.Seconds()))
}

func (s *Shares) set(a *account, used time.Duration, now time.Time) {
	a.used, a.at, a.period = used, now, s.period
}

func (s *Shares) charge(l *Loan, used time.Duration, now time.Time) {
	a := l.account
	s.set(a, s.decayed(a, now)+used, now)
	a.running += used
	l.used += used
	l.settle(used)
}

// Left returns the device time that all calls under way are predicted to take still.
func (s *Shares) Left() (left time.Duration) {
	for _, a := range s.accounts {
		left += a.pending
	}
	return left
}

// Lend notes that e has a slot.
func (s *Shares) Lend(e Entry, now time.Time) *Loan {
	a := s.account(e.Caller, now)
	cost := e.atLeast()
	a.pending += cost
	a.loans++
	a.served[e.class()] = now
	return &Loan{account: a, class: e.class(), begun: now, left: cost}
}

// Charge notes the device time that was measured of a call since the last Charge.
func (s *Shares) Charge(l *Loan, used time.Duration, now time.Time) {
	if !l.ended {
		s.charge(l, used, now)
	}
}

func (l *Loan) settle(used time.Duration) {
	used = min(used, l.left)
	l.left -= used
	l.account.pending -= used
}

// Return notes that the call has ended. One that was cut off may have used device time that nobody has measured: it is
// charged with what was predicted, but no more than the time it took. A second Return does nothing.
func (s *Shares) Return(l *Loan, whole bool, now time.Time) {
	if l.ended {
		return
	}
	a := l.account
	if !whole {
		s.charge(l, min(l.left, now.Sub(l.begun)), now)
	}
	l.settle(l.left)
	l.ended = true
	a.running -= l.used
	a.loans--
	a.served[l.class] = now
}

// MayTake reports whether a caller may take one of so many free slots. The last one is kept for a caller that was seen
// lately and has none, unless the one that asks has none either: otherwise whoever has much to ask would hold all
// slots, and others would wait for a whole answer each time.
func (s *Shares) MayTake(caller string, free int, now time.Time) bool {
	if a := s.accounts[caller]; free != 1 || a == nil || a.loans == 0 {
		return free > 0
	}
	for _, other := range s.accounts {
		if other.loans == 0 && now.Sub(other.at) < lately {
			return false
		}
	}
	return true
}

// sweep drops the accounts that decide nothing, now and then.
func (s *Shares) sweep(now time.Time) {
	if s.accounts == nil {
		s.accounts = map[string]*account{}
	}
	if now.Sub(s.swept) < halfLife {
		return
	}
	s.swept = now
	for caller, a := range s.accounts {
		if a.loans == 0 && now.Sub(a.at) >= lately && s.decayed(a, now) < forgotten {
			delete(s.accounts, caller)
		}
	}
}
