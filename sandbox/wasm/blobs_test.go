package wasm

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/testdata/duplex/contract"
)

// A blob travels with the item that refers to it, not with the next one: those of goroutines overtake each other.
func TestBlobs_TravelWithTheItemThatRefersToThem(t *testing.T) {
	host := newDuplexHost()
	d := begin(t, newInstance(t, loadDuplex(t, nil)), host, contract.In{Do: contract.Blob})
	const n = 20
	for i := range n {
		data := []byte{byte(i / 2)} // every second one is the same once more
		d.sendIn(contract.In{N: (n - i) % 3 * 5, Data: data})
	}
	d.in.CloseSend(nil)
	seen := map[int]bool{}
	for range n {
		out, it := d.next()
		if len(it.Blobs) != 1 || out.Blob == nil || it.Blobs[0].Digest != out.Blob.Digest || !bytes.Equal(it.Blobs[0].Data, []byte{byte(out.N / 2)}) {
			t.Errorf("item %d refers to %v and has %v", out.N, out.Blob, it.Blobs)
		}
		seen[out.N] = true
	}
	if err := d.ended(); err != nil || len(seen) != n {
		t.Errorf("%d items, error %v", len(seen), err)
	}
}

// What came with an item can be read, and sent on, until functions.HeldItems later ones have come.
func TestBlobs_OfAStreamAreHeldForAWhile(t *testing.T) {
	att := func(i int) functions.Attachment { return functions.Attach("x/y", fmt.Append(nil, "blob ", i)) }
	d := &duplexCall{}
	for i := range functions.HeldItems + 10 {
		a := att(i)
		it := functions.Item{Value: encodeValue(t, contract.In{Do: contract.Held, Blob: &a.Blob}), Blobs: []functions.Attachment{a}}
		if i == 0 {
			d = beginItem(t, newInstance(t, loadDuplex(t, nil)), newDuplexHost(), it)
			continue
		}
		d.send(it)
		want := 2 // the first and its own
		if i >= functions.HeldItems {
			want = 1
		}
		out, sent := d.next()
		if out.N != want {
			t.Fatalf("%d blobs can be read when item %d has come, want %d", out.N, i, want)
		}
		if len(sent.Blobs) != 1 || sent.Blobs[0].Digest != a.Digest {
			t.Fatalf("item %d has the blobs %v, want the one that it refers to", i, sent.Blobs)
		}
	}
	d.in.CloseSend(nil)
	if err := d.ended(); err != nil {
		t.Error(err)
	}
}

func TestHeldBlobs(t *testing.T) {
	att := func(i int) functions.Attachment { return functions.Attach("x/y", fmt.Append(nil, i)) }
	for _, stream := range []bool{true, false} {
		t.Run(fmt.Sprint("stream ", stream), func(t *testing.T) {
			var held heldBlobs
			again := att(-1) // comes with every tenth item
			for i := range 300 {
				blobs := []functions.Attachment{att(i)}
				if i%10 == 0 && i < 150 {
					blobs = append(blobs, again)
				}
				held.add(blobs, stream)
				for k := range i + 1 {
					_, ok := held.find(att(k).Digest)
					if want := !stream || k > i-functions.HeldItems; ok != want {
						t.Fatalf("the blob of item %d when item %d has come: %v, want %v", k, i, ok, want)
					}
				}
				_, ok := held.find(again.Digest)
				if want := !stream || i < 140+functions.HeldItems; ok != want {
					t.Fatalf("the blob that came up to item 140, when item %d has come: %v, want %v", i, ok, want)
				}
			}
			if n := len(held.byDigest); stream && n != functions.HeldItems {
				t.Errorf("%d blobs are held", n)
			}
		})
	}
}

// limits.out of a stream is for one item with its blobs, and for what is made and not sent.
func TestBlobs_LimitOfAStream(t *testing.T) {
	code := loadDuplex(t, func(m *functions.Manifest) { m.Limits.OutBytes = 4 << 10 })
	for _, test := range []struct {
		name string
		do   string
		size int
		want error
	}{
		{"items within it", contract.Echo, 3 << 10, nil},
		{"a larger item", contract.Echo, 5 << 10, functions.ErrOutputLimit},
		{"blobs within it", contract.Blob, 3 << 10, nil},
		{"a larger blob", contract.Blob, 5 << 10, functions.ErrOutputLimit},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := begin(t, newInstance(t, code), newDuplexHost(), contract.In{Do: test.do})
			if test.do == contract.Echo {
				d.next()
			}
			for i := range 10 {
				d.sendIn(contract.In{Data: bytes.Repeat([]byte{byte(i)}, test.size)})
				if test.want == nil {
					d.next()
				}
			}
			if test.want == nil {
				d.in.CloseSend(nil)
			}
			if err := d.ended(); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}
