package gateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/catenary-run/catenary/functions"
)

const (
	// intakeItems is how many items of a caller wait for the run: some more than an edge holds, since an interruption that
	// comes behind them is seen only when they have found room.
	intakeItems = 64
	// maxMarks is more than the items that wait for the run can have between them.
	maxMarks = 4 * intakeItems
)

// intake is the input of a streaming run: a bounded queue between a caller, which pushes at its own pace until the queue
// is full, and the run. Interruptions take effect at once for the turns that have begun; for a turn that begins with an
// item in the queue, when the run has taken that item.
type intake struct {
	queue *functions.Stream
	// interrupt is set before the first call of interruptTurn or interruptAll.
	interrupt func(turn uint64) (ended bool)
	// queued is false where a step opens turns: those don't begin with an item of the queue.
	queued bool

	mu     sync.Mutex // guards the fields below
	pushed uint64     // items
	taken  uint64     // items that the run has done with, but for the last
	idle   bool       // the run waits for an item
	marks  []mark     // in order
}

// mark is an interruption that waits until so many items are taken.
type mark struct{ after, turn uint64 }

func newIntake(queued bool) *intake {
	return &intake{queue: functions.NewStream(intakeItems, 0), queued: queued}
}

// push adds an item; it waits for room. One goroutine at a time may call it.
func (q *intake) push(ctx context.Context, it functions.Item) error {
	q.mu.Lock()
	q.pushed++ // before it can be taken
	q.mu.Unlock()
	return q.queue.Send(ctx, it)
}

// interruptAll makes turn over, as far as it has begun or begins with an item that was pushed. The goroutine that pushes
// calls it.
func (q *intake) interruptAll(turn uint64) error {
	q.mu.Lock()
	pushed := q.pushed
	q.mu.Unlock()
	_, err := q.interruptTurn(turn, pushed)
	return err
}

// interruptTurn makes turn over, as far as it has begun or begins with one of the first sent items; it reports whether
// one was over at once. It may be called from any goroutine.
func (q *intake) interruptTurn(turn, sent uint64) (ended bool, err error) {
	ended = q.interrupt(turn)
	if !q.queued || sent == 0 {
		return ended, nil
	}
	q.mu.Lock()
	now := q.idle && q.taken >= sent
	if !now {
		err = q.mark(mark{sent, turn})
	}
	q.mu.Unlock()
	if now && q.interrupt(turn) { // the run has got to that item, and had not when we asked first
		ended = true
	}
	return ended, err
}

// mark adds m in its order; mu is held.
func (q *intake) mark(m mark) error {
	i, found := slices.BinarySearchFunc(q.marks, m, func(a, b mark) int { return cmp.Compare(a.after, b.after) })
	switch {
	case found:
		q.marks[i].turn = max(q.marks[i].turn, m.turn)
	case len(q.marks) == maxMarks:
		return fmt.Errorf("%w: %d interruptions wait for items of the input; an interruption of what has begun (sent 0) never waits", functions.ErrQueueFull, maxMarks)
	default:
		q.marks = slices.Insert(q.marks, i, m)
	}
	return nil
}

// Recv implements functions.Source.
func (q *intake) Recv(ctx context.Context) (functions.Item, error) {
	q.mu.Lock()
	var due []mark
	for len(q.marks) > 0 && q.marks[0].after <= q.taken {
		due, q.marks = append(due, q.marks[0]), q.marks[1:]
	}
	q.idle = true
	q.mu.Unlock()
	for _, m := range due {
		q.interrupt(m.turn)
	}
	it, err := q.queue.Recv(ctx)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.idle = false
	if err == nil {
		q.taken++
	}
	return it, err
}
