package chains

import (
	"fmt"
	"math"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// callerTurn settles the turn of an item of the caller. Where a step opens turns there is none before it; elsewhere the
// caller counts them, one by one from where it begins.
func (x *exec) callerTurn(it *functions.Item, first bool) error {
	if x.plan.opener != nil {
		it.Turn = 0
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case it.Turn > math.MaxInt64:
		return fmt.Errorf("%w: an item of turn %d; the last is %d", functions.ErrInvalid, it.Turn, int64(math.MaxInt64))
	case first:
		x.base, x.told = it.Turn, it.Turn // before opened is closed
		x.turns.Advance(x.base)           // what lies before is no turn of this run
	case it.Turn < x.newest || it.Turn-x.newest > 1:
		return fmt.Errorf("%w: an item of turn %d after turn %d; turns are counted one by one", functions.ErrInvalid, it.Turn, x.newest)
	}
	x.newest = it.Turn
	return nil
}

// stepTurn checks the turn of an item that step n has sent, and opens it if it is new.
func (x *exec) stepTurn(n *node, turn uint64) error {
	x.mu.Lock()
	newest := x.newest
	opens := turn > newest && n == x.plan.opener && turn-newest == 1
	if opens {
		x.newest = turn
	}
	x.mu.Unlock()
	switch {
	case turn <= newest:
		return nil
	case n != x.plan.opener:
		return fmt.Errorf("%w: %s sent an item of turn %d, and the newest is %d: say that it opens turns, or leave the turn alone",
			functions.ErrFunction, n.ref, turn, newest)
	case !opens:
		return fmt.Errorf("%w: %s opened turn %d after turn %d; turns are counted one by one", functions.ErrFunction, n.ref, turn, newest)
	}
	if x.plan.graph.Spec.Interrupt == spec.InterruptOnset {
		x.interrupt(turn - 1)
	}
	return nil
}

// interrupt makes turn, as far as it has begun, and all before it over.
func (x *exec) interrupt(turn uint64) bool {
	select {
	case <-x.opened:
	default:
		return false // no turn has begun
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	first := min(turn, x.newest) + 1
	if x.ctx.Err() != nil || !x.turns.Advance(first) {
		return false
	}
	if x.plan.single {
		x.whole = true
		x.cancel(errRunOver)
		return true
	}
	for e, s := range x.edges {
		if s != nil && x.plan.drops[e] {
			s.Drop(first)
		}
	}
	return true
}

// interrupted reports whether a turn of the run is over. It is for steps to which an item has come, or can come no more.
func (x *exec) interrupted() bool {
	first, _ := x.turns.First()
	return first > x.base
}

// watchTurns tells the caller of each turn that is over, until the run is over.
func (x *exec) watchTurns() {
	select {
	case <-x.opened:
	case <-x.ctx.Done():
		select {
		case <-x.opened: // the run was short
		default:
			return
		}
	}
	for over := false; !over; {
		_, changed := x.turns.First()
		x.caller <- struct{}{}
		x.tellTurns()
		<-x.caller
		select {
		case <-changed:
		case <-x.ctx.Done():
			over = true
		}
	}
	x.caller <- struct{}{}
	x.tellTurns()
	<-x.caller
}

// tellTurns tells the caller what it does not know yet. Who calls it is in caller.
func (x *exec) tellTurns() {
	for first, _ := x.turns.First(); x.told < first; x.told++ {
		x.r.TurnOver(x.told)
	}
}
