package plugin

import (
	"fmt"
	"slices"
	"sync"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
)

// blobs are those of one call: what came with the latest items, and what was made and not sent yet. It may be used from
// many goroutines.
type blobs struct {
	mu   sync.Mutex // guards the fields below
	came functions.HeldBlobs
	made map[functions.Digest]*made
}

// made is a blob that the function made.
type made struct {
	blob *pluginv1.Blob
	uses int // how often it was made, less how often a value referred to it: equal bytes are one blob
}

// take notes the blobs of an item that the function takes; those of the oldest item go.
func (b *blobs) take(blobs []*pluginv1.Blob) {
	came := make([]functions.Attachment, len(blobs))
	for i, blob := range blobs {
		came[i] = functions.Attachment{Blob: functions.Blob{Digest: functions.Digest(blob.GetDigest()), Type: blob.GetType()}, Data: blob.GetData()}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.came.Add(came)
}

// read returns the bytes of a blob that came.
func (b *blobs) read(d functions.Digest) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a, ok := b.came.Find(d); ok {
		return a.Data, nil
	}
	return nil, fmt.Errorf("%w: blob %s did not travel with the input, or with none of its latest %d items", functions.ErrNotFound, d.Short(), functions.HeldItems)
}

// make makes a blob, to be sent with the item that refers to it.
func (b *blobs) make(mediaType string, data []byte) functions.Blob {
	ref := functions.Attach(mediaType, data).Blob
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.made == nil {
		b.made = map[functions.Digest]*made{}
	}
	m := b.made[ref.Digest]
	if m == nil {
		m = &made{blob: &pluginv1.Blob{Digest: string(ref.Digest), Type: mediaType, Data: data}}
		b.made[ref.Digest] = m
	}
	m.uses++
	return ref
}

// of returns the made blobs that a value of a schema refers to, and forgets those that nothing more can refer to.
func (b *blobs) of(s *functions.Schema, v []byte) ([]*pluginv1.Blob, error) {
	b.mu.Lock()
	none := len(b.made) == 0
	b.mu.Unlock()
	if none {
		return nil, nil
	}
	refs, err := value.Blobs(s, v)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var with []*pluginv1.Blob
	for _, ref := range refs {
		m := b.made[ref.Digest]
		if m == nil {
			continue
		}
		if !slices.Contains(with, m.blob) {
			with = append(with, m.blob)
		}
		if m.uses--; m.uses == 0 {
			delete(b.made, ref.Digest)
		}
	}
	return with, nil
}
