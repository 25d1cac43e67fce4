package loadtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/internal/testkit"
)

// fate is how a caller's stream goes.
type fate int

const (
	goesWell fate = iota
	hangsUp
	runsOut
	fails
	interrupts
	fates
)

var (
	errHungUp  = errors.New("the caller has hung up")
	errTimeOut = fmt.Errorf("%w: the caller's own", context.DeadlineExceeded)
)

// TestStreams runs a thousand streams at once through two guests and an engine. Their callers hang up, run out of time,
// meet failures and interrupt, at random points. Every caller gets all its items in order, or some of them and one error;
// and afterwards nothing is held that was not held before.
func TestStreams(t *testing.T) {
	const streams = 1000
	n := newNode(t, functions.Port{Schema: functions.SchemaFor[number](), Stream: true}, "ask", "echo")
	p := n.plan(t, "ask", "echo")
	// One stream first: what is made once is there.
	open := make(chan struct{})
	close(open)
	one(t, n, p, rand.New(rand.NewPCG(1, 1)), goesWell, open)
	before := held(t)

	var all sync.WaitGroup
	gate := make(chan struct{})
	for i := range streams {
		all.Go(func() { one(t, n, p, rand.New(rand.NewPCG(7, uint64(i))), fate(i)%fates, gate) })
	}
	busy := func(want int) func() bool {
		return func() bool {
			for _, s := range n.pools.Status() {
				if s.Busy != want || s.Queued != 0 {
					return false
				}
			}
			return true
		}
	}
	testkit.Eventually(t, "every stream has its instances", busy(streams))
	close(gate)
	all.Wait()

	testkit.Eventually(t, "no instance is busy, and no call waits", busy(0))
	if open := n.engine.open.Load(); open != 0 {
		t.Errorf("%d generations are open", open)
	}
	n.engine.sessions.Range(func(session, _ any) bool {
		t.Errorf("session %v of the engine has not ended", session)
		return true
	})
	testkit.Eventually(t, "no goroutine or descriptor more than before", func() bool {
		runtime.GC()
		now := held(t)
		return now.goroutines <= before.goroutines && now.descriptors <= before.descriptors
	})
}

// holding is what the process holds.
type holding struct{ goroutines, descriptors int }

func held(t *testing.T) holding {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return holding{runtime.NumGoroutine(), len(fds)}
}

// one is one stream from its caller's side. Its input begins when the gate opens.
func one(t *testing.T, n *node, p *chains.Plan, random *rand.Rand, f fate, gate <-chan struct{}) {
	const turns = 4
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	cut := time.Duration(random.IntN(30)) * time.Millisecond
	bad := -1
	if f == fails {
		bad = random.IntN(turns)
	}
	var want []int
	var turnOf []uint64
	in := functions.NewStream(0, 0)
	go func() { // ends at the latest when in is given up
		<-gate
		switch f {
		case hangsUp:
			time.AfterFunc(cut, func() { cancel(errHungUp) })
		case runsOut:
			time.AfterFunc(cut, func() { cancel(errTimeOut) })
		}
		for turn := range turns {
			it := numberItem(t, number{N: turn + 1, Fail: turn == bad})
			it.Turn = uint64(turn)
			if in.Send(t.Context(), it) != nil {
				return
			}
		}
		in.CloseSend(nil)
	}()
	defer in.CloseRecv(nil)
	for turn := range turns {
		if turn == bad {
			break
		}
		for i := range tokensPerAnswer {
			want, turnOf = append(want, (turn+1)*10+i), append(turnOf, uint64(turn))
		}
	}
	var got []int
	var over []uint64
	var run *chains.Running
	var started sync.WaitGroup
	started.Add(1)
	stopAt := random.IntN(len(want) + 1)
	out := functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		var v number
		if err := value.Decode(it.Value, &v); err != nil {
			return err
		}
		if slices.Contains(over, it.Turn) {
			t.Errorf("an item of turn %d after its end", it.Turn)
		}
		got = append(got, v.N)
		if f == interrupts && len(got) == stopAt {
			started.Wait()
			run.Interrupt(it.Turn)
		}
		return nil
	})
	run, err := p.Start(ctx, chains.Run{ID: "load", Invoker: n.pools, In: in, Out: out, TurnOver: func(turn uint64) { over = append(over, turn) }})
	if err != nil {
		t.Error(err)
		return
	}
	started.Done()
	_, err = run.Wait()

	cause := map[fate]error{hangsUp: errHungUp, runsOut: context.DeadlineExceeded, fails: functions.ErrFunction}[f]
	switch {
	case err == nil && f == fails, err != nil && (cause == nil || !errors.Is(err, cause)):
		t.Errorf("a stream that %v ended with %v", f, err)
	case err != nil && !slices.Equal(got, want[:min(len(got), len(want))]):
		t.Errorf("before %v came %v, not the first of %v", err, got, want)
	case err == nil && f != interrupts && !slices.Equal(got, want):
		t.Errorf("got %v, want %v", got, want)
	case err == nil && f == interrupts:
		checkInterrupted(t, got, want, turnOf, over, stopAt)
	}
}

// checkInterrupted: the caller got what came until it interrupted, at most the one item more that was on its way to it,
// and all of the turns after.
func checkInterrupted(t *testing.T, got, want []int, turnOf, over []uint64, stopAt int) {
	if stopAt == 0 || stopAt > len(want) {
		if !slices.Equal(got, want) || len(over) > 0 {
			t.Errorf("nobody interrupted: got %v, turns %v over", got, over)
		}
		return
	}
	turn := turnOf[stopAt-1]
	if len(over) != int(turn)+1 || over[turn] != turn {
		t.Errorf("turn %d was interrupted, and turns %v are over", turn, over)
	}
	first := (int(turn) + 1) * tokensPerAnswer // of the next turn
	if !slices.Equal(got, slices.Concat(want[:stopAt], want[first:])) {
		t.Errorf("interrupted after %d items, in turn %d: got %v", stopAt, turn, got)
	}
}
