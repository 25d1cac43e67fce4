package plugin

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
)

// pipe is a call's connection in memory, without a window.
type pipe struct {
	grpc.BidiStreamingClient[pluginv1.Item, pluginv1.Item]
	sent   chan *pluginv1.Item
	closed atomic.Bool
	items  []*pluginv1.Item // the output
}

func newPipe(items ...*pluginv1.Item) *pipe {
	return &pipe{sent: make(chan *pluginv1.Item, 1000), items: items}
}

func (p *pipe) Send(m *pluginv1.Item) error { p.sent <- m; return nil }
func (p *pipe) CloseSend() error            { p.closed.Store(true); return nil }

func (p *pipe) Recv() (*pluginv1.Item, error) {
	if len(p.items) == 0 {
		return nil, io.EOF
	}
	m := p.items[0]
	p.items = p.items[1:]
	return m, nil
}

// counted is a source that counts how often it was asked.
type counted struct {
	functions.Source
	asked atomic.Int64
}

func (c *counted) Recv(ctx context.Context) (functions.Item, error) {
	c.asked.Add(1)
	return c.Source.Recv(ctx)
}

func sized(n int, sizes ...int) *counted {
	var items []functions.Item
	for i := range n {
		items = append(items, functions.Item{Value: make([]byte, sizes[i%len(sizes)]), Seq: uint64(i)})
	}
	return &counted{Source: functions.Items(items...)}
}

// TestCredit feeds plugins that take items one by one, and looks how far ahead of that the source was asked.
func TestCredit(t *testing.T) {
	type row struct{ taken, asked, sent int }
	for _, tt := range []struct {
		name    string
		notices bool
		source  *counted
		want    []row // with so many taken
		closed  bool
	}{
		{"small items", true, sized(7, 10), []row{{0, 4, 4}, {1, 5, 5}, {3, 7, 7}, {4, 8, 8}, {7, 8, 8}}, false},
		{"large items go alone", true, sized(3, aheadBytes+1), []row{{0, 1, 1}, {1, 2, 2}, {2, 3, 3}, {3, 4, 4}}, false},
		{"bytes", true, sized(4, aheadBytes/2, 10), []row{{0, 3, 2}, {1, 5, 5}}, false},
		{"no input", true, sized(0), []row{{0, 1, 1}}, false},
		{"the plugin does not say", false, sized(50, 10), []row{{0, 51, 50}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				p := newPipe()
				in := newInput(p, tt.notices)
				done := make(chan error, 1)
				go func() { done <- in.feed(ctx, tt.source) }()
				for _, want := range tt.want {
					if err := in.taken(uint64(want.taken)); err != nil {
						t.Error(err)
					}
					synctest.Wait()
					got := row{want.taken, int(tt.source.asked.Load()), len(p.sent)}
					if got != want {
						t.Errorf("got %+v, want %+v", got, want)
					}
				}
				if p.closed.Load() != tt.closed {
					t.Errorf("the node's side was closed: %v, want %v", !tt.closed, tt.closed)
				}
				cancel()
				<-done
			})
		})
	}
}

// TestInputEnds ends what feeds while it waits, and while it feeds.
func TestInputEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("enough")
		for name, src := range map[string]functions.Source{
			"for credit": sized(10, 10), "for an item": functions.NewStream(1, 0),
		} {
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error, 1)
			go func() { done <- newInput(newPipe(), true).feed(ctx, src) }()
			synctest.Wait()
			cancel(why)
			if err := <-done; err != why {
				t.Errorf("%s: got %v, want the cause", name, err)
			}
		}
		p := newPipe()
		if err := newInput(p, true).feed(t.Context(), sized(1, 10)); err != nil {
			t.Error(err)
		}
		if m := <-p.sent; m.End || len(m.Value) == 0 {
			t.Errorf("first came %v, want the item", m)
		}
		if m := <-p.sent; !m.End || len(m.Value) > 0 || p.closed.Load() {
			t.Errorf("then came %v, want the end", m)
		}
	})
}

// TestTell tells of turns, all through the call, whatever the items do.
func TestTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := newPipe()
		in := newInput(p, true)
		turns := functions.NewTurns()
		turns.Advance(2)
		done := make(chan struct{})
		go func() { in.tell(ctx, turns); close(done) }()
		var got []uint64
		for _, turn := range []uint64{2, 3, 3, 7} {
			synctest.Wait()
			turns.End(turn)
		}
		synctest.Wait()
		for len(p.sent) > 0 {
			got = append(got, (<-p.sent).Over)
		}
		if diff := cmp.Diff([]uint64{2, 3, 4, 8}, got); diff != "" {
			t.Error(diff)
		}
		cancel()
		<-done
	})
}

// TestTaken_IsNotTrusted has a plugin take what was not sent, or give back what it took.
func TestTaken_IsNotTrusted(t *testing.T) {
	for name, claims := range map[string][]uint64{"too many": {2, 4}, "less": {3, 2}, "all of them": {1 << 63}} {
		p := newPipe()
		for _, n := range claims {
			p.items = append(p.items, &pluginv1.Item{Taken: n})
		}
		in := newInput(p, true)
		if err := in.feed(t.Context(), sized(3, 10)); err != nil {
			t.Fatal(err)
		}
		err := (&instance{inStream: true}).receive(t.Context(), p, in, nil)
		if !errors.Is(err, functions.ErrFunction) {
			t.Errorf("%s: got %v, want functions.ErrFunction", name, err)
		}
	}
}

// TestReceive counts the bytes of each item where the call may go on for ever, and of all otherwise.
func TestReceive(t *testing.T) {
	item := func(n int) *pluginv1.Item { return &pluginv1.Item{Value: make([]byte, n), Taken: 1} }
	for _, tt := range []struct {
		name     string
		inStream bool
		items    []*pluginv1.Item
		want     error
		came     int
	}{
		{"stream of small items", true, []*pluginv1.Item{item(60), item(60), {Taken: 1}, item(100)}, nil, 3},
		{"one is too large", true, []*pluginv1.Item{item(60), item(101)}, functions.ErrOutputLimit, 1},
		{"one value in", false, []*pluginv1.Item{item(60), item(60)}, functions.ErrOutputLimit, 1},
		{"a notice that nobody asked for", false, []*pluginv1.Item{{Taken: 1}}, functions.ErrFunction, 0},
		{"nothing", true, []*pluginv1.Item{{}}, functions.ErrFunction, 0},
	} {
		p := newPipe(tt.items...)
		in := newInput(p, tt.inStream)
		if err := in.feed(t.Context(), sized(1, 10)); err != nil {
			t.Fatal(err)
		}
		came := 0
		sink := functions.SinkFunc(func(context.Context, functions.Item) error { came++; return nil })
		inst := &instance{inStream: tt.inStream, limits: functions.Limits{OutBytes: 100}}
		if err := inst.receive(t.Context(), p, in, sink); !errors.Is(err, tt.want) || came != tt.came {
			t.Errorf("%s: %d items and %v, want %d and %v", tt.name, came, err, tt.came, tt.want)
		}
	}
}
