package plugin

import (
	"fmt"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
)

func toWire(it functions.Item) *pluginv1.Item {
	m := &pluginv1.Item{Value: it.Value, Seq: it.Seq, Turn: it.Turn}
	if !it.Time.IsZero() {
		m.TimeUnixNanos = it.Time.UnixNano()
	}
	for _, b := range it.Blobs {
		m.Blobs = append(m.Blobs, &pluginv1.Blob{Digest: string(b.Digest), Type: b.Type, Data: b.Data})
	}
	return m
}

// fromWire returns the item of a message as number seq of the output. It trusts nothing of it.
func fromWire(m *pluginv1.Item, seq uint64) (functions.Item, error) {
	it := functions.Item{Value: m.GetValue(), Seq: seq, Turn: m.GetTurn()}
	if len(it.Value) == 0 {
		return it, fmt.Errorf("%w: the plugin sent an item without a value", functions.ErrFunction)
	}
	if ns := m.GetTimeUnixNanos(); ns != 0 {
		it.Time = time.Unix(0, ns)
	}
	for _, b := range m.GetBlobs() {
		a := functions.Attach(b.GetType(), b.GetData())
		if string(a.Digest) != b.GetDigest() {
			return it, fmt.Errorf("%w: the plugin sent a blob as %.80q whose bytes have digest %s", functions.ErrFunction, b.GetDigest(), a.Digest.Short())
		}
		it.Blobs = append(it.Blobs, a)
	}
	return it, nil
}
