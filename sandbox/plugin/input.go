package plugin

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
)

// input is the input of one call on its way to the plugin.
type input struct {
	stream handleStream
	report func(functions.Waits) // tells how long the plugin has waited; nil if it does not say
	credit *credit               // nil if the plugin does not say what it has taken: then only HTTP/2's window bounds what is under way
	mu     sync.Mutex            // held while a message is sent: items and notices come from two goroutines
}

func newInput(stream handleStream, notices bool) *input {
	in := &input{stream: stream}
	if notices {
		in.credit = newCredit()
	}
	return in
}

func (in *input) send(m *pluginv1.Item) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.stream.Send(m)
}

// feed sends the items of src to their end, no faster than the plugin takes them: nothing is asked of src that the
// plugin has no room for. It returns nil when the plugin does not read on, since the end of the output tells why.
func (in *input) feed(ctx context.Context, src functions.Source) error {
	for {
		if err := in.credit.await(ctx, 0); err != nil {
			return err
		}
		it, err := src.Recv(ctx)
		if errors.Is(err, io.EOF) {
			in.end()
			return nil
		}
		if err == nil {
			err = in.credit.await(ctx, it.Size())
		}
		if err != nil {
			return err
		}
		in.credit.spend(it.Size())
		if err := in.send(toWire(it)); err != nil {
			return nil
		}
	}
}

// end says that no more items come. Errors are those of a call that has ended, which the end of the output tells of.
func (in *input) end() {
	if in.credit != nil {
		_ = in.send(&pluginv1.Item{End: true})
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	_ = in.stream.CloseSend()
}

// tell tells the plugin which turns are over, each time that this changes.
func (in *input) tell(ctx context.Context, turns *functions.Turns) {
	var told uint64
	for {
		first, changed := turns.First()
		if first > told {
			told = first
			if err := in.send(&pluginv1.Item{Over: first}); err != nil {
				return
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// waited notes what the plugin says of the time in which it waited, if it says something.
func (in *input) waited(w *pluginv1.Waits) {
	if w != nil && in.report != nil {
		in.report(functions.Waits{Total: time.Duration(w.TotalNanos), Now: w.Now})
	}
}

// taken notes how many items the plugin says that it has taken; 0 says nothing.
func (in *input) taken(n uint64) error {
	if in.credit == nil || n == 0 {
		return nil
	}
	return in.credit.taken(n)
}
