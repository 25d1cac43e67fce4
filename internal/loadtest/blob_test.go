package loadtest

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
)

// TestBlobIsCopiedOnceOut: of a blob that a step reads and writes anew the host makes one copy, that out of the guest. The
// one in goes into the guest's own memory.
func TestBlobIsCopiedOnceOut(t *testing.T) {
	const size, blobs = 1 << 20, 64
	n := newNode(t, parts{port: streamOf[functions.Blob](), guests: []string{"blob"}, config: config()})
	p := n.plan(t, "blob")
	var items []functions.Item
	for i := range blobs {
		data := make([]byte, size)
		copy(data, fmt.Sprint(i)) // each is another one
		att := functions.Attach("application/octet-stream", data)
		v, err := value.Encode(att.Blob)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, functions.Item{Value: v, Blobs: []functions.Attachment{att}})
	}
	var before, after runtime.MemStats
	const warm = 8 // what is made once is made
	taken, came := 0, 0
	in := sourceFunc(func(context.Context) (functions.Item, error) {
		if taken == blobs {
			return functions.Item{}, io.EOF
		}
		taken++
		return items[taken-1], nil
	})
	out := functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		if len(it.Blobs) != 1 || it.Blobs[0].Digest != items[came].Blobs[0].Digest {
			return fmt.Errorf("item %d came back with other bytes", came)
		}
		if came++; came == warm {
			runtime.ReadMemStats(&before)
		}
		return nil
	})
	if _, err := p.Run(t.Context(), chains.Run{ID: "blob", Invoker: n.pools, In: in, Out: out}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	per := float64(after.TotalAlloc-before.TotalAlloc) / (blobs - warm)
	t.Logf("%.0f bytes are allocated for a blob of %d", per, size)
	if per > 1.25*size {
		t.Errorf("%.0f bytes are allocated for a blob of %d: it is copied more than once", per, size)
	}
}
