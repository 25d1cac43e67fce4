package wasm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/wasm/testdata/duplex/contract"
)

// The image is taken while a goroutine waits for a descriptor of the warm-up. The number means nothing in a later call:
// the goroutine gets an error, and no item of others.
func TestHandles_StaleOnesAreNeverUsedAgain(t *testing.T) {
	code := loadDuplex(t, func(m *functions.Manifest) { m.Sample = encodeValue(t, contract.In{Do: contract.Leave}) })
	inst := newInstance(t, code)
	for range 3 {
		host := newDuplexHost()
		host.turns.End(3) // there is something to read from the turns
		d := begin(t, inst, host, contract.In{Do: contract.Left})
		if out, _ := d.next(); out.What != "left" || !strings.Contains(string(out.Data), "Bad file number") {
			t.Errorf("the goroutine of the warm-up: %s: %q", out.What, out.Data)
		}
		if err := d.ended(); err != nil {
			t.Error(err)
		}
		if err := inst.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Why the prototype of this ABI hung with items of 1 MB: it had two os.Files of one descriptor, and used numbers again.
// Items so large make Go collect garbage, and the collector closes a descriptor with the file that was forgotten, under
// the one that is in use. Here that hits nobody but the guest that does so.
func TestHandles_TwoFilesOfOne(t *testing.T) {
	d := begin(t, newInstance(t, loadDuplex(t, nil)), newDuplexHost(), contract.In{Do: contract.TwoFiles})
	out, _ := d.next()
	if out.N != 1 || strings.Contains(string(out.Data), "nil") {
		t.Errorf("closed: %d; the read that was left: %s", out.N, out.Data)
	}
	if err := d.ended(); err != nil {
		t.Error(err)
	}
}

// And so it works: one file for each descriptor, and items of 1 MB while forgotten ones are collected.
func TestHandles_LargeItemsWhileTheCollectorRuns(t *testing.T) {
	const n, dropped = 40, 3
	host := newDuplexHost()
	host.recv = func(context.Context) (functions.Token, error) {
		return functions.Token{Text: strings.Repeat("x", 1<<20)}, nil
	}
	inst := newInstance(t, loadDuplex(t, nil))
	d := begin(t, inst, host, contract.In{Do: contract.Big, N: dropped})
	for i := range n {
		data := bytes.Repeat([]byte{byte(i)}, 1<<20)
		d.sendIn(contract.In{N: i, Data: data})
		out, _ := d.next()
		if out.N != i || !bytes.Equal(out.Data, data) {
			t.Fatalf("item %d came back as %d with %d bytes", i, out.N, len(out.Data))
		}
	}
	d.in.CloseSend(nil)
	if err := d.ended(); err != nil {
		t.Error(err)
	}
	if asked, open := host.asked.Load(), host.open.Load(); asked != n*dropped || open != 0 {
		t.Errorf("%d generations, %d open", asked, open)
	}
}

// A guest that waits costs goroutines and its memory, but no thread.
func TestHandles_WaitingTakesNoThread(t *testing.T) {
	const n = 60
	code := loadDuplex(t, nil)
	var calls []*duplexCall
	before := threads(t)
	for range n {
		calls = append(calls, begin(t, newInstance(t, code), newDuplexHost(), contract.In{Do: contract.Park}))
	}
	untilParked(t, n)
	if more := threads(t) - before; more > n/4 {
		t.Errorf("%d threads more for %d guests that wait", more, n)
	}
	for _, d := range calls {
		d.in.CloseSend(nil)
		if err := d.ended(); !errors.Is(err, functions.ErrFunction) || !strings.Contains(err.Error(), "EOF") {
			t.Errorf("got %v, want what the guest says of the end", err)
		}
	}
}

// threads counts those of this process.
func threads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if errors.Is(err, os.ErrNotExist) {
		return 0 // not on Linux
	}
	check(t, err)
	return len(tasks)
}

// After a thousand calls that were cut off anywhere there is no goroutine and no generation more than before.
func TestHandles_NothingIsLeftOfCalls(t *testing.T) {
	const n = 1000
	code := loadDuplex(t, nil)
	image := imageOf(t, code)
	var inst sandbox.Instance
	rnd := rand.New(rand.NewPCG(1, 2))
	before := runtime.NumGoroutine()
	var open atomic.Int64
	resets := 0
	for i := range n {
		if inst == nil {
			inst = newInstance(t, code)
		}
		host := newDuplexHost()
		left := int64(rnd.IntN(40))
		host.recv = func(ctx context.Context) (functions.Token, error) {
			if ctx.Err() != nil {
				return functions.Token{}, context.Cause(ctx)
			}
			if atomic.AddInt64(&left, -1) < 0 {
				return functions.Token{}, io.EOF
			}
			return functions.Token{Text: "word"}, nil
		}
		why := errors.New("the caller hung up")
		ctx, cancel := context.WithCancelCause(t.Context())
		in := functions.NewStream(0, 0)
		first := contract.In{Do: contract.Random, N: rnd.IntN(4)}
		check(t, in.Send(t.Context(), functions.Item{Value: encodeValue(t, first)}))
		cut, end := rnd.IntN(60), rnd.IntN(60)
		items := 0
		err := inst.Serve(ctx, in, functions.SinkFunc(func(ctx context.Context, _ functions.Item) error {
			if items++; items == cut {
				cancel(why)
			}
			if items == end {
				in.CloseSend(nil)
			} else if items < 10 {
				if err := in.Send(ctx, functions.Item{Value: encodeValue(t, contract.In{N: items})}); err != nil && ctx.Err() == nil && !errors.Is(err, functions.ErrClosed) {
					return err
				}
			}
			return nil
		}), tickHost{host, cancel, why})
		cancel(nil)
		if err != nil && !errors.Is(err, why) {
			t.Fatalf("call %d: %v", i, err)
		}
		open.Add(host.open.Load())
		switch err := inst.Reset(t.Context()); {
		case err == nil:
			if resets++; resets%10 == 0 {
				if err := image.differs(inst); err != nil {
					t.Fatalf("after call %d: %v", i, err)
				}
			}
		case errors.Is(err, sandbox.ErrSpent):
			check(t, inst.Close())
			inst = nil
		default:
			t.Fatal(err)
		}
	}
	if n := open.Load(); n != 0 {
		t.Errorf("%d generations are open", n)
	}
	testkit.Eventually(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
	t.Logf("%d calls, %d resets", n, resets)
}

// tickHost ends a call when its guest has waited for a tick.
type tickHost struct {
	*duplexHost
	cancel context.CancelCauseFunc
	why    error
}

func (h tickHost) Log(_ slog.Level, line string) {
	if line == "tick" {
		h.cancel(h.why)
	}
}
