package gateway

import (
	"context"
	"sync"

	"github.com/catenary-run/catenary/functions"
)

// intakeItems is how many items of a caller wait for the run: some more than an edge holds, since an interruption that
// comes behind them is seen only when they have found room.
const intakeItems = 64

// intake is the input of a streaming run: a bounded queue between a caller, which pushes at its own pace until the queue
// is full, and the run. Interruptions take effect at once for the turns that have begun; for a turn that begins with an
// item in the queue, when the run has taken that item.
type intake struct {
	queue *functions.Stream
	// interrupt is set before the first call of interruptTurn.
	interrupt func(turn uint64)
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

// interruptTurn makes turn over, as far as it has begun or begins with an item that was pushed. The goroutine that
// pushes calls it.
func (q *intake) interruptTurn(turn uint64) {
	q.interrupt(turn)
	if !q.queued {
		return
	}
	q.mu.Lock()
	now := q.idle && q.taken == q.pushed
	if !now {
		if n := len(q.marks); n > 0 && q.marks[n-1].after == q.pushed { // so there are no more marks than items
			q.marks[n-1].turn = max(q.marks[n-1].turn, turn)
		} else {
			q.marks = append(q.marks, mark{q.pushed, turn})
		}
	}
	q.mu.Unlock()
	if now { // the run has got to the last item, and had not when we asked first
		q.interrupt(turn)
	}
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
