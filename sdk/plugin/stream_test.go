package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
	"github.com/catenary-run/catenary/sdk"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
)

// note is an item of the test's stream.
type note struct {
	N    int       `json:"n"`
	Blob *sdk.Blob `json:"blob,omitempty"`
}

var relay = sdk.NewFunc[sdk.Stream[note], sdk.Stream[note]]("relay").OpensTurns()

// node is the node's side of one call.
type node struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[pluginv1.Item, pluginv1.Item]
}

// callDuplex begins a call of an implementation.
func callDuplex(t *testing.T, impl sdk.Duplex[note, note]) node {
	t.Helper()
	contract, err := relay.Describe()
	if err != nil {
		t.Fatal(err)
	}
	c, _ := connectTo(t, contract, sdk.NewDuplexHandler(value.Codec{}, relay, impl))
	stream, err := c.Handle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return node{t, stream}
}

func (n node) send(items ...*pluginv1.Item) {
	n.t.Helper()
	for _, it := range items {
		if err := n.stream.Send(it); err != nil {
			n.t.Fatal(err)
		}
	}
}

// rest returns the items that come until the call ends well.
func (n node) rest() []*pluginv1.Item {
	n.t.Helper()
	var items []*pluginv1.Item
	for {
		m, err := n.stream.Recv()
		if err == io.EOF {
			return items
		}
		if err != nil {
			n.t.Fatal(err)
		}
		if len(m.Value) > 0 {
			items = append(items, m)
		}
	}
}

func wire(t *testing.T, n note, turn uint64) *pluginv1.Item {
	t.Helper()
	v, err := value.Encode(n)
	if err != nil {
		t.Fatal(err)
	}
	return &pluginv1.Item{Value: v, Turn: turn}
}

func unwire(t *testing.T, m *pluginv1.Item) (n note) {
	t.Helper()
	if err := value.Decode(m.Value, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// pipe is a call's connection in memory.
type pipe struct {
	grpc.BidiStreamingServer[pluginv1.Item, pluginv1.Item]
	ctx context.Context
	in  chan *pluginv1.Item
	out chan *pluginv1.Item
}

func (p pipe) Context() context.Context { return p.ctx }

func (p pipe) Recv() (*pluginv1.Item, error) {
	select {
	case m := <-p.in:
		return m, nil
	case <-p.ctx.Done():
		return nil, p.ctx.Err()
	}
}

func (p pipe) Send(m *pluginv1.Item) error { p.out <- m; return nil }

// TestTaken has the function take items one by one: the node is told by a notice when the function waits or has taken
// some, and by the items of the output where there are any.
func TestTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := pipe{ctx: ctx, in: make(chan *pluginv1.Item, 10), out: make(chan *pluginv1.Item, 10)}
		e := &env{turns: functions.NewTurns()}
		in := newSource(p, e, true)
		out := &sink{stream: p, env: e, input: in}
		go in.run()
		go out.notify(ctx.Done())
		for i := range 4 {
			p.in <- wire(t, note{N: i}, 0)
		}
		told := func(when string, want ...uint64) {
			t.Helper()
			synctest.Wait()
			var got []uint64
			for len(p.out) > 0 {
				got = append(got, (<-p.out).Taken)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", when, diff)
			}
		}
		take := func() {
			t.Helper()
			if _, err := in.Recv(ctx); err != nil {
				t.Fatal(err)
			}
		}
		told("at first")
		take()
		told("one taken, others wait")
		take()
		told("half of the credit taken", 2)
		take()
		if err := out.Send(ctx, functions.Item{Value: []byte{0}}); err != nil {
			t.Fatal(err)
		}
		told("an item sent", 3)
		take()
		told("the last one taken")
		under, interrupt := context.WithCancelCause(ctx)
		go func() { interrupt(sdk.ErrInterrupted) }()
		if _, err := in.Recv(under); !errors.Is(err, sdk.ErrInterrupted) {
			t.Errorf("got %v, want the cause of the context", err)
		}
		told("waiting for more", 4)
		p.in <- &pluginv1.Item{End: true}
		if _, err := in.Recv(ctx); err != io.EOF {
			t.Errorf("got %v, want io.EOF", err)
		}
		told("at the end")
	})
}

// TestTurns has a turn end while the function is in it, before and after the end of the input.
func TestTurns(t *testing.T) {
	began := make(chan bool, 2)
	n := callDuplex(t, func(ctx context.Context, in *sdk.Receiver[note], out *sdk.Sender[note]) error {
		for turn := range uint64(2) {
			under, done := sdk.TurnContext(ctx, turn)
			defer done()
			began <- true
			// The first waits for an item, the second outlives the input.
			if turn == 0 {
				_, err := in.Recv(under)
				if !errors.Is(err, sdk.ErrInterrupted) {
					return fmt.Errorf("an item of an over turn: %w", err)
				}
			} else if _, err := in.Recv(ctx); err != io.EOF {
				return fmt.Errorf("want the end of the input, got %w", err)
			}
			<-under.Done()
			if err := context.Cause(under); !errors.Is(err, sdk.ErrInterrupted) {
				return err
			}
			if err := out.Send(ctx, sdk.Msg[note]{Turn: turn}); err != nil {
				return fmt.Errorf("to send in a turn that is over: %w", err)
			}
		}
		return out.Send(ctx, sdk.Msg[note]{Value: note{N: 7}, Turn: 2})
	})
	<-began
	n.send(&pluginv1.Item{Over: 1})
	<-began
	n.send(&pluginv1.Item{End: true}, &pluginv1.Item{Over: 2})
	items := n.rest()
	if len(items) != 1 || items[0].Turn != 2 || items[0].Seq != 0 || unwire(t, items[0]).N != 7 {
		t.Errorf("got %v, want one item of turn 2", items)
	}
}

// TestEndsBeforeItsInput has a function that takes one item and returns, while the node goes on.
func TestEndsBeforeItsInput(t *testing.T) {
	n := callDuplex(t, func(ctx context.Context, in *sdk.Receiver[note], out *sdk.Sender[note]) error {
		m, err := in.Recv(ctx)
		if err != nil {
			return err
		}
		return out.Send(ctx, m)
	})
	n.send(wire(t, note{N: 1}, 0))
	if err := n.stream.Send(wire(t, note{N: 2}, 0)); err != nil && err != io.EOF { // the call may have ended by then
		t.Fatal(err)
	}
	if items := n.rest(); len(items) != 1 || unwire(t, items[0]).N != 1 {
		t.Errorf("got %v", items)
	}
}

// TestIterator serves a function that ranges over its input. What it yields has the turn and the time of what it read.
func TestIterator(t *testing.T) {
	contract, err := relay.Describe()
	if err != nil {
		t.Fatal(err)
	}
	if !contract.Turns {
		t.Error("the contract does not say that it opens turns")
	}
	c, _ := connectTo(t, contract, sdk.NewHandler(value.Codec{}, relay, func(_ context.Context, in sdk.Stream[note]) (sdk.Stream[note], error) {
		return func(yield func(note, error) bool) {
			for m, err := range in {
				if m.N *= 2; !yield(m, err) {
					return
				}
			}
		}, nil
	}))
	said, err := c.Describe(t.Context(), &pluginv1.DescribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if !said.InStream || !said.OutStream || !said.Turns || !said.Notices {
		t.Errorf("it describes itself as %v", said)
	}
	stream, err := c.Handle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := node{t, stream}
	for i := range 3 {
		m := wire(t, note{N: i}, uint64(i/2))
		m.TimeUnixNanos = int64(1000 + i)
		n.send(m)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	type row struct {
		N    int
		Turn uint64
		Time int64
	}
	var got []row
	for _, m := range n.rest() {
		got = append(got, row{unwire(t, m).N, m.Turn, m.TimeUnixNanos})
	}
	if diff := cmp.Diff([]row{{0, 0, 1000}, {2, 0, 1001}, {4, 1, 1002}}, got); diff != "" {
		t.Error(diff)
	}
}

// TestMadeBlobs has goroutines make and send blobs, all at once: each item carries the one that it refers to.
func TestMadeBlobs(t *testing.T) {
	const writers, each = 8, 50
	n := callDuplex(t, func(ctx context.Context, _ *sdk.Receiver[note], out *sdk.Sender[note]) error {
		var all sync.WaitGroup
		errs := make([]error, writers)
		for w := range writers {
			all.Go(func() {
				for i := range each {
					// Some make the same bytes as others.
					b, err := sdk.NewBlob(ctx, "text/plain", fmt.Append(nil, w/2, " ", i))
					if err == nil {
						err = out.Send(ctx, sdk.Msg[note]{Value: note{N: i, Blob: &b}, Time: time.Unix(0, int64(w+1))})
					}
					if err != nil {
						errs[w] = err
						return
					}
				}
			})
		}
		all.Wait()
		if _, err := sdk.NewBlob(ctx, "text/plain", []byte("never sent")); err != nil {
			return err
		}
		return errors.Join(errs...)
	})
	items := n.rest()
	if len(items) != writers*each {
		t.Fatalf("%d items, want %d", len(items), writers*each)
	}
	for i, m := range items {
		got := unwire(t, m)
		want := fmt.Sprint((m.TimeUnixNanos-1)/2, " ", got.N)
		if len(m.Blobs) != 1 || string(m.Blobs[0].Data) != want || m.Blobs[0].Digest != string(got.Blob.Digest) || m.Seq != uint64(i) {
			t.Fatalf("item %d is %v, want the blob %q", i, m, want)
		}
	}
}

// TestHeldBlobs reads a blob until as many later items have come as are held.
func TestHeldBlobs(t *testing.T) {
	data := []byte("tea")
	ref := functions.Attach("text/plain", data).Blob
	n := callDuplex(t, func(ctx context.Context, in *sdk.Receiver[note], _ *sdk.Sender[note]) error {
		for i := range functions.HeldItems + 2 {
			if _, err := in.Recv(ctx); err != nil {
				return err
			}
			_, err := sdk.ReadBlob(ctx, ref)
			// Item 1 carries it.
			if held := i > 0 && i <= functions.HeldItems; held != (err == nil) || err != nil && !errors.Is(err, functions.ErrNotFound) {
				return fmt.Errorf("after item %d: %w", i, err)
			}
		}
		return nil
	})
	for i := range functions.HeldItems + 2 {
		m := wire(t, note{N: i}, 0)
		if i == 1 {
			m.Blobs = []*pluginv1.Blob{{Digest: string(ref.Digest), Type: ref.Type, Data: data}}
		}
		n.send(m)
	}
	n.rest()
}

// TestFullOutput has nobody read the output: what has been taken can't be told, but the function goes on taking what has
// come, and notices reach it.
func TestFullOutput(t *testing.T) {
	taken := make(chan int, 10)
	n := callDuplex(t, func(ctx context.Context, in *sdk.Receiver[note], out *sdk.Sender[note]) error {
		ctx, cancel := context.WithCancelCause(ctx)
		var sender sync.WaitGroup
		defer sender.Wait()
		defer cancel(nil)
		sender.Go(func() {
			for {
				b, err := sdk.NewBlob(ctx, "text/plain", make([]byte, windowBytes))
				if err == nil {
					err = out.Send(ctx, sdk.Msg[note]{Value: note{Blob: &b}})
				}
				if err != nil {
					cancel(err)
					return
				}
			}
		})
		for i := 1; ; i++ {
			if _, err := in.Recv(ctx); err != nil {
				return err
			}
			taken <- i
			if i == aheadItems {
				under, done := sdk.TurnContext(ctx, 5)
				defer done()
				<-under.Done()
				taken <- 0
			}
		}
	})
	for i := range aheadItems {
		n.send(wire(t, note{N: i}, 0))
	}
	for i := range aheadItems {
		if got := <-taken; got != i+1 {
			t.Fatalf("took %d, want %d", got, i+1)
		}
	}
	n.send(&pluginv1.Item{Over: 6})
	if got := <-taken; got != 0 {
		t.Errorf("took %d, want the end of the turn", got)
	}
	n.send(&pluginv1.Item{End: true})
	for { // make room
		if _, err := n.stream.Recv(); err != nil {
			break
		}
	}
}
