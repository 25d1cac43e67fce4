//go:build linux

package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sdk"
	"github.com/google/go-cmp/cmp"
)

// frame is an item of the plugin relay.
type frame struct {
	Do   string          `json:"do"`
	N    int             `json:"n"`
	Text string          `json:"text"`
	Blob *functions.Blob `json:"blob,omitempty"`
}

// relayManifest returns the manifest of the plugin between two streams.
func relayManifest(t testing.TB) functions.Manifest {
	t.Helper()
	digest, err := digestOfFile(builds["relay"](t))
	if err != nil {
		t.Fatal(err)
	}
	in, out, err := sdk.NewFunc[sdk.Stream[frame], sdk.Stream[frame]]("relay").Ports()
	if err != nil {
		t.Fatal(err)
	}
	return functions.Manifest{Name: "relay", Kind: functions.KindPlugin, Artifact: digest, In: in, Out: out, Turns: true}
}

func relayCode(t *testing.T, edit func(*functions.Manifest)) sandbox.Code {
	t.Helper()
	d := newDriver(t, t.TempDir(), nil)
	m := relayManifest(t)
	if edit != nil {
		edit(&m)
	}
	img, err := d.Prepare(t.Context(), &m, builds["relay"](t))
	if err != nil {
		t.Fatal(err)
	}
	code, err := d.Load(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func frameItem(t testing.TB, f frame) functions.Item {
	t.Helper()
	v, err := value.Encode(f)
	if err != nil {
		t.Fatal(err)
	}
	return functions.Item{Value: v}
}

func unframe(t testing.TB, it functions.Item) (f frame) {
	t.Helper()
	if err := value.Decode(it.Value, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// turnedHost is a host of a run whose turns end.
type turnedHost struct {
	*testHost
	turns *functions.Turns
}

func (h turnedHost) Turns() *functions.Turns { return h.turns }

// endless gives an item as often as it is asked.
type endless functions.Item

func (e endless) Recv(ctx context.Context) (functions.Item, error) {
	if ctx.Err() != nil {
		return functions.Item{}, context.Cause(ctx)
	}
	return functions.Item(e), nil
}

// TestStream_Echo sends items with all that they can carry through a plugin and back.
func TestStream_Echo(t *testing.T) {
	inst := newInstance(t, relayCode(t, nil))
	if inst.limits.Time != 0 {
		t.Errorf("the call may take %s, though it is a stream", inst.limits.Time)
	}
	var want []functions.Item
	for i := range 1000 {
		it := functions.Item{Seq: uint64(i), Turn: uint64(i / 100), Time: time.Unix(7, int64(i))}
		f := frame{Do: "echo", N: i}
		if i%10 == 0 {
			att := functions.Attach("text/plain", fmt.Append(nil, "blob ", i/20, strings.Repeat(" and more", i)))
			f.Blob, it.Blobs = &att.Blob, []functions.Attachment{att}
		}
		it.Value = frameItem(t, f).Value
		want = append(want, it)
	}
	var got []functions.Item
	err := inst.Serve(t.Context(), functions.Items(want...), functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		got = append(got, it)
		return nil
	}), newHost())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := inst.Reset(t.Context()); err != nil {
		t.Error(err)
	}
	if err := inst.Serve(t.Context(), functions.Items(), nil, newHost()); err != nil {
		t.Errorf("a stream of nothing: %v", err)
	}
}

// TestStream_NotAllRead has plugins that leave some of an endless input. Whatever they do, none of it is taken from the
// source that there is no room for.
func TestStream_NotAllRead(t *testing.T) {
	code := relayCode(t, nil)
	for _, tt := range []struct {
		do   string
		want error
	}{
		{"first", nil}, {"panic", functions.ErrTrap}, {"fall", functions.ErrFunction},
	} {
		t.Run(tt.do, func(t *testing.T) {
			inst := newInstance(t, code)
			src := &counted{Source: endless(frameItem(t, frame{Do: tt.do, N: 10, Text: strings.Repeat("x", 1000)}))}
			err := inst.Serve(t.Context(), src, functions.SinkFunc(func(context.Context, functions.Item) error { return nil }), newHost())
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if n := src.asked.Load(); n > 11+aheadItems {
				t.Errorf("%d items were taken from the source", n)
			}
			if err := inst.Reset(t.Context()); (err != nil) != (tt.want == functions.ErrTrap) {
				t.Errorf("reset: %v", err)
			}
		})
	}
	for _, do := range []string{"deaf", "flood"} {
		t.Run(do, func(t *testing.T) {
			inst := newInstance(t, code)
			why := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			src := &counted{Source: endless(frameItem(t, frame{Do: do, Text: strings.Repeat("x", 100_000)}))}
			n := 0
			err := inst.Serve(ctx, src, functions.SinkFunc(func(context.Context, functions.Item) error {
				if n++; n == 1000 || do == "deaf" {
					cancel(why)
				}
				return nil
			}), newHost())
			if err != why {
				t.Errorf("got %v, want the cause", err)
			}
			if n := src.asked.Load(); n > 1+aheadItems {
				t.Errorf("%d items were taken from the source", n)
			}
			if err := inst.Reset(t.Context()); err != nil {
				t.Errorf("reset: %v", err)
			}
			if pid, err := serveOne(t, inst); err != nil || pid != "again" {
				t.Errorf("the next call: %q, %v", pid, err)
			}
		})
	}
}

// serveOne has an instance of relay echo one item.
func serveOne(t *testing.T, inst sandbox.Instance) (text string, err error) {
	t.Helper()
	err = inst.Serve(t.Context(), functions.Items(frameItem(t, frame{Do: "echo", Text: "again"})),
		functions.SinkFunc(func(_ context.Context, it functions.Item) error {
			text = unframe(t, it).Text
			return nil
		}), newHost())
	return text, err
}

// TestStream_Turns ends each turn that the plugin says it is in, long after its input has ended.
func TestStream_Turns(t *testing.T) {
	inst := newInstance(t, relayCode(t, nil))
	turns := functions.NewTurns()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("all turns seen")
	first := frameItem(t, frame{Do: "turns"})
	first.Turn = 3
	turns.Advance(3)
	want := uint64(3)
	err := inst.Serve(ctx, functions.Items(first), functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		if it.Turn != want {
			return fmt.Errorf("turn %d, want %d", it.Turn, want)
		}
		if want++; want == 10 {
			cancel(why)
		}
		turns.End(it.Turn)
		return nil
	}), turnedHost{newHost(), turns})
	if err != why {
		t.Errorf("got %v, want %v", err, why)
	}
}

// TestStream_Limits holds each item to the limit of the output, and the call to the limit of time that its manifest says.
func TestStream_Limits(t *testing.T) {
	text := func(n int) functions.Item { return frameItem(t, frame{Do: "echo", Text: strings.Repeat("x", n)}) }
	inst := newInstance(t, relayCode(t, func(m *functions.Manifest) { m.Limits.OutBytes = 2000 }))
	for _, tt := range []struct {
		size, came int
		want       error
	}{{1000, 20, nil}, {3000, 0, functions.ErrOutputLimit}, {100_000, 0, functions.ErrOutputLimit}} {
		came := 0
		items := make([]functions.Item, 20)
		for i := range items {
			items[i] = text(tt.size)
		}
		err := inst.Serve(t.Context(), functions.Items(items...), functions.SinkFunc(func(context.Context, functions.Item) error {
			came++
			return nil
		}), newHost())
		if !errors.Is(err, tt.want) || came != tt.came {
			t.Errorf("items of %d bytes: %d came and %v, want %d and %v", tt.size, came, err, tt.came, tt.want)
		}
		if err := inst.Reset(t.Context()); err != nil {
			t.Error(err)
		}
	}
	inst = newInstance(t, relayCode(t, func(m *functions.Manifest) { m.Limits.Time = 50 * time.Millisecond }))
	if err := inst.Serve(t.Context(), functions.NewStream(1, 0), nil, newHost()); !errors.Is(err, functions.ErrTimeLimit) {
		t.Errorf("got %v, want functions.ErrTimeLimit", err)
	}
}

// TestStream_Described holds a plugin to what its manifest says of streams and turns, and asks it again where what it said
// was kept by a version that did not ask for that.
func TestStream_Described(t *testing.T) {
	d := newDriver(t, t.TempDir(), nil)
	for says, edit := range map[string]func(*functions.Manifest){
		"takes a stream: true": func(m *functions.Manifest) { m.In.Stream = false },
		"sends a stream: true": func(m *functions.Manifest) { m.Out.Stream = false },
		"opens turns: true":    func(m *functions.Manifest) { m.Turns = false },
	} {
		m := relayManifest(t)
		edit(&m)
		if _, err := d.Prepare(t.Context(), &m, builds["relay"](t)); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want functions.ErrInvalid that says %q", err, says)
		}
	}
	m := relayManifest(t)
	kept := descriptionFile(d.program(m.Artifact), m.Args)
	if err := os.WriteFile(kept, []byte(`{"name":"relay","in":{},"out":{},"out_stream":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Prepare(t.Context(), &m, builds["relay"](t)); err != nil {
		t.Errorf("with what an older version kept: %v", err)
	}
}

// held counts what this process holds.
func held() map[string]int {
	h := map[string]int{"goroutines": runtime.NumGoroutine()}
	fds, _ := os.ReadDir("/proc/self/fd")
	h["descriptors"] = len(fds)
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, task := range tasks {
		pids, _ := os.ReadFile(task)
		h["processes"] += len(strings.Fields(string(pids)))
	}
	return h
}

// nothingMore fails the test unless this process comes back to hold what it held. The guard bounds how long a failing
// test takes.
func nothingMore(t *testing.T, before map[string]int) {
	t.Helper()
	var more bool
	for range 200 {
		runtime.GC() // closes what only a finalizer would close
		now := held()
		more = false
		for what, n := range now {
			more = more || n > before[what]
		}
		if !more {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	t.Errorf("held: %v, before: %v\n%s", held(), before, buf[:runtime.Stack(buf, true)])
}

// TestStream_Cancelled ends calls at random points, in one of the ways in which calls end early. The process is free for
// the next call, or is known to be spent; nothing is left behind.
func TestStream_Cancelled(t *testing.T) {
	code := relayCode(t, nil)
	warm := newInstance(t, code)
	if _, err := serveOne(t, warm); err != nil {
		t.Fatal(err)
	}
	if err := warm.Close(); err != nil {
		t.Fatal(err)
	}
	before := held()
	random := rand.New(rand.NewPCG(4, 2026))
	why, broke, gone := errors.New("the caller hung up"), errors.New("the source broke off"), errors.New("the reader is gone")
	var inst sandbox.Instance
	starts := 0
	for round := range 120 {
		if inst == nil {
			var err error
			if inst, err = code.New(t.Context()); err != nil {
				t.Fatal(err)
			}
			starts++
		}
		do := []string{"echo", "echo", "flood", "turns", "deaf", "fall", "stay"}[random.IntN(7)]
		if do == "stay" && round%10 != 0 {
			do = "echo" // each of these costs a second
		}
		way, at := random.IntN(3), random.IntN(40)
		ctx, cancel := context.WithCancelCause(t.Context())
		turns := functions.NewTurns()
		given, came := 0, 0
		src := sourceFunc(func(ctx context.Context) (functions.Item, error) {
			if given++; given > at {
				switch {
				case way == 0:
					cancel(why)
				case way == 1:
					return functions.Item{}, broke
				case at%4 == 0:
					return functions.Item{}, io.EOF
				}
			}
			if ctx.Err() != nil {
				return functions.Item{}, context.Cause(ctx)
			}
			return frameItem(t, frame{Do: do, N: at + 10, Text: strings.Repeat("x", 10_000)}), nil
		})
		out := functions.SinkFunc(func(ctx context.Context, it functions.Item) error {
			if do == "turns" {
				turns.End(it.Turn)
			}
			if came++; came > at/2 && way == 2 {
				return gone
			}
			if came > 60 { // the plugin takes no item, so the source ends nothing
				cancel(why)
			}
			return nil
		})
		stop := func() bool { return true }
		if do == "stay" || do == "deaf" { // neither end of the call can end these
			stop = time.AfterFunc(time.Duration(at)*time.Millisecond, func() { cancel(why) }).Stop
		}
		err := inst.Serve(ctx, src, out, turnedHost{newHost(), turns})
		stop()
		cancel(nil)
		if err != nil && !errors.Is(err, why) && !errors.Is(err, broke) && !errors.Is(err, gone) && !errors.Is(err, functions.ErrFunction) {
			t.Fatalf("round %d, %s: %v", round, do, err)
		}
		switch err := inst.Reset(t.Context()); {
		case err == nil:
			if text, err := serveOne(t, inst); err != nil || text != "again" {
				t.Fatalf("round %d, the call after %s: %q, %v", round, do, text, err)
			}
			if err := inst.Reset(t.Context()); err != nil {
				t.Fatal(err)
			}
		case do == "stay" && errors.Is(err, sandbox.ErrSpent):
			if err := inst.Close(); err != nil {
				t.Fatal(err)
			}
			inst = nil
		default:
			t.Fatalf("round %d, reset after %s: %v", round, do, err)
		}
	}
	t.Logf("%d starts", starts)
	if inst != nil {
		if err := inst.Close(); err != nil {
			t.Error(err)
		}
	}
	nothingMore(t, before)
}

type sourceFunc func(context.Context) (functions.Item, error)

func (f sourceFunc) Recv(ctx context.Context) (functions.Item, error) { return f(ctx) }
