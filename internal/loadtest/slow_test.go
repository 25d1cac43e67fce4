package loadtest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
)

const (
	slowSteps = 5
	slowItem  = 256 << 10
	// slowBound is the most by which memory may grow while two times, or four times, as much passes. Six edges may hold 24 MiB; the
	// rest is the garbage of five guests and of the host before it is collected.
	slowBound = 256 << 20
)

// TestSlowReader: behind a chain of five steps a caller takes an item a second, and then as fast as it can. What is
// offered is far more than the memory that may be in use: the caller's pace reaches the source. No byte is lost.
func TestSlowReader(t *testing.T) {
	slow, total := 10, int64(1<<30)
	n := newNode(t, parts{port: streamOf[[]byte](), guests: []string{"bytes"}, config: config()})
	p := n.plan(t, "bytes", "bytes", "bytes", "bytes", "bytes")
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		held := int64(m.HeapInuse)
		for _, st := range n.pools.Status() {
			held += st.MemBytes
		}
		return held
	}
	runtime.GC()
	before := inUse()

	sent, got := sha256.New(), sha256.New()
	var offered, taken atomic.Int64
	data := make([]byte, slowItem)
	source := sourceFunc(func(context.Context) (functions.Item, error) {
		if offered.Load() >= total {
			return functions.Item{}, io.EOF
		}
		binary.LittleEndian.PutUint64(data, uint64(offered.Load())) // each is another one
		offered.Add(slowItem)
		sent.Write(data)
		v, err := value.Encode(data)
		return functions.Item{Value: v}, err
	})
	var most, ahead int64
	out := functions.SinkFunc(func(ctx context.Context, it functions.Item) error {
		if slow > 0 {
			slow--
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			// While it waited, all that may be under way got under way.
			ahead = max(ahead, offered.Load()-taken.Load())
		}
		var b []byte
		if err := value.Decode(it.Value, &b); err != nil {
			return err
		}
		got.Write(b)
		if taken.Add(int64(len(b)))%(32<<20) == 0 || slow > 0 {
			most = max(most, inUse()-before)
		}
		return nil
	})
	if _, err := p.Run(t.Context(), chains.Run{ID: "slow", Invoker: n.pools, In: source, Out: out}); err != nil {
		t.Fatal(err)
	}
	if taken.Load() != total || string(sent.Sum(nil)) != string(got.Sum(nil)) {
		t.Errorf("%d bytes were sent and %d arrived, or others", total, taken.Load())
	}
	// Six edges are full, and five steps, the source and the caller have an item each.
	if bound := int64((slowSteps+1)*functions.DefaultEdgeBytes + (slowSteps+2)*slowItem); ahead > bound {
		t.Errorf("%d bytes were under way to a caller that takes nothing; %d may be", ahead, bound)
	}
	if most > slowBound {
		t.Errorf("memory grew by %d bytes; %d may be in use", most, slowBound)
	}
	t.Logf("%d bytes passed; at most %d were under way to the slow caller, and memory grew by %d", total, ahead, most)
}

type sourceFunc func(context.Context) (functions.Item, error)

func (f sourceFunc) Recv(ctx context.Context) (functions.Item, error) { return f(ctx) }
