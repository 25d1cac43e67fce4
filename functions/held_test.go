package functions_test

import (
	"fmt"
	"testing"

	"github.com/catenary-run/catenary/functions"
)

func TestHeldBlobs(t *testing.T) {
	blob := func(i int) functions.Attachment { return functions.Attach("text/plain", []byte(fmt.Sprint(i))) }
	var held functions.HeldBlobs
	if n := testing.AllocsPerRun(100, func() { held.Add(nil) }); n != 0 {
		t.Errorf("an item of a stream without blobs takes %v allocations", n)
	}
	const items = 2 * functions.HeldItems
	for i := range items {
		held.Add([]functions.Attachment{blob(i)})
	}
	held.Add(nil) // counts, too
	for i := range items {
		got, ok := held.Find(blob(i).Digest)
		if want := i > items-functions.HeldItems; ok != want || ok && string(got.Data) != fmt.Sprint(i) {
			t.Errorf("blob %d of %d: held %v, %q", i, items, ok, got.Data)
		}
	}
	held.Add([]functions.Attachment{blob(items - 1)}) // once more: it is held for as long again
	for range functions.HeldItems - 1 {
		held.Add(nil)
	}
	if _, ok := held.Find(blob(items - 1).Digest); !ok {
		t.Error("a blob that came again went with its first item")
	}
	held.Add(nil)
	if _, ok := held.Find(blob(items - 1).Digest); ok {
		t.Error("a blob is held for ever")
	}
}
