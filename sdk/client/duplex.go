package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// duplex is one run over Stream. One goroutine may send while another receives; close may be called by any, last.
type duplex struct {
	c      *Client
	parent context.Context // of the run, for its cause: a duplex lives within it
	caller context.Context // the caller's, which parent outlives by endGrace if its time is up
	cancel context.CancelCauseFunc
	stop   func() // at the end of close
	stream *connect.BidiStreamForClientSimple[catenaryv1.StreamRequest, catenaryv1.StreamResponse]

	abort   func() bool   // keeps the end of the context from closing the reply
	aborted chan struct{} // closed when that is done

	sending sync.Mutex    // held while one message is sent
	shut    bool          // our side is closed; sending is held
	items   atomic.Uint64 // that were sent

	begun chan struct{} // closed when the first message is here; run is set then
	run   string        // the id; empty if the server does not say it

	receiving chan struct{}              // holds a value while a goroutine receives, which has the fields below
	early     *catenaryv1.StreamResponse // a first message that is for the one who receives
	blobs     []functions.Attachment     // that came before the value that they belong to
	grows     bool                       // the last of them is not whole yet
	ended     bool
	over      error // how it ended
}

// open begins a run: the caller closes it.
func (c *Client) open(parent context.Context, open *catenaryv1.Open) (*duplex, error) {
	if parent.Err() != nil {
		return nil, context.Cause(parent)
	}
	ctx, cancel, stop := outlive(parent)
	stream, err := c.chains.Stream(ctx)
	if err != nil {
		stop()
		return nil, c.failure(parent, err)
	}
	d := &duplex{c: c, caller: parent, parent: ctx, cancel: cancel, stop: stop, stream: stream, begun: make(chan struct{}), receiving: make(chan struct{}, 1)}
	// While a send waits for the peer, net/http does not see that the context has ended, but it sees this.
	d.aborted = make(chan struct{})
	d.abort = context.AfterFunc(ctx, func() {
		defer close(d.aborted)
		_ = stream.CloseResponse()
	})
	if err := d.send(parent, &catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Open{Open: open}}); err != nil && !errors.Is(err, io.EOF) {
		d.close()
		return nil, err
	}
	return d, nil
}

// send sends one message; it waits while the server is behind. It returns io.EOF if the run has ended: how, tells event.
// If ctx ends meanwhile the run does.
func (d *duplex) send(ctx context.Context, m *catenaryv1.StreamRequest) error {
	defer d.bound(ctx)()
	d.sending.Lock()
	defer d.sending.Unlock()
	if d.shut {
		return fmt.Errorf("%w: the input has been closed", functions.ErrClosed)
	}
	switch err := d.stream.Send(m); {
	case err == nil:
		if m.GetOpen() == nil && m.GetInterrupt() == nil {
			d.items.Add(1)
		}
		return nil
	case d.parent.Err() == nil && errors.Is(err, io.EOF):
		return io.EOF
	default:
		return d.c.failure(d.parent, err)
	}
}

// bound ends the run when ctx ends, until the returned func is called.
func (d *duplex) bound(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, func() {
		if !errors.Is(d.caller.Err(), context.DeadlineExceeded) { // else it ends soon, or after endGrace
			d.cancel(context.Cause(ctx))
		}
	})
}

// interrupt makes turn and all before it over, whatever waits before it and even if our side is closed. It needs the id of
// the run, which comes first: it waits for that.
func (d *duplex) interrupt(ctx context.Context, turn uint64) error {
	sent := d.items.Load()
	select {
	case <-d.begun:
	case d.receiving <- struct{}{}: // nobody receives: so we do
		err := d.begin(ctx)
		<-d.receiving
		if err != nil {
			return ended(err)
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.parent.Done():
		return context.Cause(d.parent)
	}
	if d.run == "" { // a server from before there was another way
		return d.send(ctx, &catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Interrupt{Interrupt: &catenaryv1.Interrupt{Turn: turn}}})
	}
	if _, err := d.c.chains.Interrupt(ctx, &catenaryv1.InterruptRequest{Run: d.run, Turn: turn, Sent: sent}); err != nil {
		return d.c.failure(ctx, err)
	}
	return nil
}

// ended is what a method says that does not tell how a run ended.
func ended(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return io.EOF
}

// begin receives the first message, if that is not here. The goroutine that receives calls it.
func (d *duplex) begin(ctx context.Context) error {
	select {
	case <-d.begun:
		return nil
	default:
	}
	if d.over != nil {
		return d.over
	}
	defer d.bound(ctx)()
	m, err := d.stream.Receive()
	if err != nil {
		d.over = d.broken(err)
		close(d.begun)
		return d.over
	}
	if s := m.GetStarted(); s != nil {
		d.run = s.Run
	} else {
		d.early = m
	}
	close(d.begun)
	return nil
}

// broken is why the reply ended without the run's end.
func (d *duplex) broken(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: server %s: the reply broke off before its end", functions.ErrUnavailable, d.c.base)
	}
	return d.c.failure(d.parent, err)
}

// receive returns the next message but for the first.
func (d *duplex) receive() (*catenaryv1.StreamResponse, error) {
	if m := d.early; m != nil {
		d.early = nil
		return m, nil
	}
	return d.stream.Receive()
}

// closeSend ends the input.
func (d *duplex) closeSend() {
	d.sending.Lock()
	defer d.sending.Unlock()
	if !d.shut {
		d.shut = true
		_ = d.stream.CloseRequest() // a broken connection shows in the reply
	}
}

// close ends the run if it goes on. It waits until nothing of it is left here.
func (d *duplex) close() {
	if !d.ended {
		d.cancel(nil)
	}
	d.closeSend()
	for {
		if _, err := d.stream.Receive(); err != nil {
			break
		}
	}
	if d.abort() {
		_ = d.stream.CloseResponse()
	} else {
		<-d.aborted
	}
	d.stop()
}

// message returns the next message but for blob chunks and the end: that is io.EOF, or the run's error. If ctx ends
// meanwhile the run does.
func (d *duplex) message(ctx context.Context) (*catenaryv1.StreamResponse, error) {
	d.receiving <- struct{}{} // an interruption that receives the first message ends with its own context, and the run's
	defer func() { <-d.receiving }()
	if d.over != nil {
		return nil, d.over
	}
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	defer d.bound(ctx)()
	for {
		m, err := d.receive()
		if err != nil {
			err = d.broken(err)
		} else if end := m.GetEnd(); end != nil {
			d.ended = true
			d.closeSend() // the server waits for this
			if err = end.Error.Err(); err == nil {
				err = io.EOF
			}
		} else if chunk := m.GetBlob(); chunk != nil {
			err = d.chunk(chunk)
		}
		if err != nil {
			d.over = err
			return nil, err
		}
		if m.GetBlob() == nil {
			return m, nil
		}
	}
}

// chunk takes the next bytes of a blob.
func (d *duplex) chunk(b *catenaryv1.BlobChunk) error {
	if !d.grows {
		d.blobs = append(d.blobs, functions.Attachment{Blob: functions.Blob{Digest: functions.Digest(b.Digest), Type: b.Type}})
	}
	a := &d.blobs[len(d.blobs)-1]
	a.Data = append(a.Data, b.Data...)
	a.Size = int64(len(a.Data))
	if a.Size > maxMessage {
		return fmt.Errorf("%w: a blob of more than %d bytes", functions.ErrOutputLimit, maxMessage)
	}
	if d.grows = !b.Last; !d.grows {
		if functions.DigestOf(a.Data) != a.Digest {
			return fmt.Errorf("%w: the bytes of blob %s are not those that its digest names", functions.ErrInvalid, a.Digest.Short())
		}
		d.c.held.put(*a)
	}
	return nil
}

// event returns the next event, io.EOF after a run that went well, or how it failed.
func (d *duplex) event(ctx context.Context) (Event, error) {
	for {
		m, err := d.message(ctx)
		if err != nil {
			return Event{}, err
		}
		if k := m.GetItem(); k != nil {
			v := &Value{Seq: k.Seq, Turn: k.Turn, Time: unixTime(k.TimeUnixNanos), JSON: k.Json, Blobs: d.blobs}
			d.blobs = nil
			return Event{Value: v}, nil
		}
		if ev, ok := sideEvent(m); ok {
			return ev, nil
		} // a kind that this client does not know is none that it asked for
	}
}

// sideEvent returns what a message tells beside the items.
func sideEvent(m *catenaryv1.StreamResponse) (Event, bool) {
	switch k := m.Kind.(type) {
	case *catenaryv1.StreamResponse_TurnOver:
		return Event{TurnOver: &TurnOver{k.TurnOver.GetTurn()}}, true
	case *catenaryv1.StreamResponse_Observed:
		return Event{Observed: &Observed{Step: k.Observed.Step, Seq: k.Observed.Seq, Turn: k.Observed.Turn, JSON: k.Observed.Json}}, true
	case *catenaryv1.StreamResponse_Timing:
		t := newTiming(k.Timing)
		return Event{Timing: &t}, true
	}
	return Event{}, false
}

// item takes the next item of a run that was opened for items. Side gets what comes beside them; if it returns true, item
// returns without one.
func (d *duplex) item(ctx context.Context, chain string, side func(Event) bool) (functions.Item, error) {
	for {
		m, err := d.message(ctx)
		if err != nil {
			return functions.Item{}, err
		}
		if k := m.GetItem(); k != nil {
			it, err := k.GetItem().Functions()
			if err != nil {
				return functions.Item{}, fmt.Errorf("output of chain %s: %w", chain, err)
			}
			for _, a := range it.Blobs {
				d.c.held.put(a)
			}
			return it, nil
		}
		if ev, ok := sideEvent(m); ok && side(ev) {
			return functions.Item{}, nil
		}
	}
}

func unixTime(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos)
}
