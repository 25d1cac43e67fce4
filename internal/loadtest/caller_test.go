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
	"sync/atomic"
	"testing"
	"time"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/internal/process"
	"github.com/catenary-run/catenary/internal/testkit"
)

// fate is how a caller's stream goes.
type fate int

const (
	goesWell   fate = iota
	hangsUp         // the caller cancels: after some time, or some items
	runsOut         // it has a deadline
	fails           // a function does
	interrupts      // a turn, and stays
	leaves          // it takes no more
	breaksOff       // its input does
	fates
)

var (
	errHungUp  = errors.New("the caller has hung up")
	errTimeOut = fmt.Errorf("%w: the caller's own", context.DeadlineExceeded)
	errLeft    = errors.New("the caller takes no more")
	errBroke   = errors.New("the line is broken")
)

const turns = 4

// traffic is what streams carry: a question in each turn, and answers of several items.
type traffic[T comparable] struct {
	questions [turns]T
	answers   [turns][]T
	// spoil makes a question at which a function fails, and tells of the error.
	spoil func(*rand.Rand, T) (T, error)
	// patience is within which callers hang up, and run out of time.
	patience time.Duration
	// foreseen is what a stream may end with instead of running out of time; nil for nothing.
	foreseen error

	ended *[fates]atomic.Int64 // with an error
}

// load runs so many streams at once, one fate after the other, and returns when they have ended and nothing is busy. Their
// input begins when all of them have their instances, but those with a deadline: they come then, and may have to wait.
func (tr traffic[T]) load(t *testing.T, n *node, p *chains.Plan, streams int, seed uint64) {
	tr.ended = new([fates]atomic.Int64)
	var all sync.WaitGroup
	gate := make(chan struct{})
	ready := 0
	for i := range streams {
		f := fate(i) % fates
		if f != runsOut { // these begin when the gate opens
			ready++
		}
		all.Go(func() { tr.one(t, n, p, rand.New(rand.NewPCG(seed, uint64(i))), f, gate) })
	}
	testkit.Eventually(t, "every stream has its instances", func() bool {
		for _, s := range n.pools.Status() {
			if s.Busy < ready {
				return false
			}
		}
		return true
	})
	close(gate)
	all.Wait()
	var cut []int64
	for f := range tr.ended {
		cut = append(cut, tr.ended[f].Load())
	}
	t.Logf("of %d streams these ended with an error, by fate: %v", streams, cut)
	testkit.Eventually(t, "no instance is busy, and no call waits", func() bool {
		for _, s := range n.pools.Status() {
			if s.Busy+s.Queued > 0 {
				return false
			}
		}
		return true
	})
}

// single runs one stream that goes well.
func (tr traffic[T]) single(t *testing.T, n *node, p *chains.Plan) {
	tr.ended = new([fates]atomic.Int64)
	open := make(chan struct{})
	close(open)
	tr.one(t, n, p, rand.New(rand.NewPCG(1, 1)), goesWell, open)
}

// one is one stream from its caller's side. Its input begins when the gate opens.
func (tr traffic[T]) one(t *testing.T, n *node, p *chains.Plan, random *rand.Rand, f fate, gate <-chan struct{}) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	cut := time.Duration(random.Int64N(int64(tr.patience)))
	cause := map[fate]error{hangsUp: errHungUp, runsOut: context.DeadlineExceeded, leaves: errLeft, breaksOff: errBroke}[f]
	if f == runsOut {
		<-gate
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, cut, errTimeOut)
		defer stop()
	}
	questions, end := tr.questions[:], turns // of what may come
	switch bad := random.IntN(turns); f {
	case fails:
		questions, end = slices.Clone(questions), bad
		questions[bad], cause = tr.spoil(random, questions[bad])
	case breaksOff:
		questions, end = questions[:bad], bad
	}
	want := slices.Concat(tr.answers[:end]...)
	stopAt, cutAt := random.IntN(len(want)+1), -1
	if f == hangsUp && random.IntN(2) == 0 {
		cutAt = stopAt
	}
	in := functions.NewStream(0, 0)
	go func() { // ends at the latest when in is given up
		<-gate
		if f == hangsUp && cutAt < 0 {
			time.AfterFunc(cut, func() { cancel(errHungUp) })
		}
		for turn, q := range questions {
			it := itemOf(t, q)
			it.Turn = uint64(turn)
			if in.Send(t.Context(), it) != nil {
				return
			}
		}
		if f == breaksOff {
			in.CloseSend(errBroke)
		}
		in.CloseSend(nil)
	}()
	defer in.CloseRecv(nil)

	var got []T
	var over []uint64
	var run *chains.Running
	var started sync.WaitGroup
	started.Add(1)
	out := functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		if f == leaves && len(got) == stopAt {
			return errLeft
		}
		var v T
		if err := value.Decode(it.Value, &v); err != nil {
			return err
		}
		if slices.Contains(over, it.Turn) {
			t.Errorf("an item of turn %d after its end", it.Turn)
		}
		got = append(got, v)
		if len(got) == cutAt {
			cancel(errHungUp)
		}
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

	if err != nil {
		tr.ended[f].Add(1)
	}
	if f == runsOut && errors.Is(err, tr.foreseen) {
		cause = tr.foreseen
	}
	switch {
	case err == nil && (f == fails || f == breaksOff || f == leaves && stopAt < len(want)):
		t.Errorf("a stream ended well that %v", f)
	case err != nil && (cause == nil || !errors.Is(err, cause)):
		t.Errorf("a stream that %v ended with %v", f, err)
	case err != nil && !slices.Equal(got, want[:min(len(got), len(want))]):
		t.Errorf("before %v came %v, not the first of %v", err, got, want)
	case err == nil && f == interrupts:
		tr.checkInterrupted(t, got, want, over, stopAt)
	case err == nil && !slices.Equal(got, want):
		t.Errorf("got %v, want %v", got, want)
	case f != interrupts && len(over) > 0:
		t.Errorf("nobody interrupted, and turns %v are over", over)
	}
}

// checkInterrupted: the caller got what came until it interrupted, and all of the turns after.
func (tr traffic[T]) checkInterrupted(t *testing.T, got, want []T, over []uint64, stopAt int) {
	if stopAt == 0 {
		if !slices.Equal(got, want) || len(over) > 0 {
			t.Errorf("nobody interrupted: got %v, turns %v over", got, over)
		}
		return
	}
	turn, first := 0, len(tr.answers[0]) // of the next turn
	for ; first < stopAt; first += len(tr.answers[turn]) {
		turn++
	}
	if len(over) != turn+1 || over[turn] != uint64(turn) {
		t.Errorf("turn %d was interrupted, and turns %v are over", turn, over)
	}
	if !slices.Equal(got, slices.Concat(want[:stopAt], want[first:])) {
		t.Errorf("interrupted after %d items, in turn %d: got %v", stopAt, turn, got)
	}
}

func itemOf(t testing.TB, v any) functions.Item {
	b, err := value.Encode(v)
	if err != nil {
		t.Error(err)
	}
	return functions.Item{Value: b}
}

func streamOf[T any]() functions.Port {
	return functions.Port{Schema: functions.SchemaFor[T](), Stream: true}
}

// holding is what this process holds.
type holding struct{ goroutines, descriptors, processes int }

func held(t *testing.T) holding {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	below, err := process.Descendants(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return holding{runtime.NumGoroutine(), len(fds), len(below)}
}

// nothingMore waits until no more is held than before.
func nothingMore(t *testing.T, before holding) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("no more is held than %+v", before), func() bool {
		runtime.GC()
		now := held(t)
		return now.goroutines <= before.goroutines && now.descriptors <= before.descriptors && now.processes <= before.processes
	})
}
