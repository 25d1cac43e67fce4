package wasm

import (
	"fmt"
	"slices"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
)

// heldBlobs are those that came with the input: all of them, or, of a stream, those of the last functions.HeldItems
// items.
type heldBlobs struct {
	byDigest map[functions.Digest]heldBlob
	recent   [][]functions.Attachment // by item, of a stream; the oldest first
	items    uint64                   // that have come
}

type heldBlob struct {
	functions.Attachment
	item uint64 // the last one that it came with
}

// add takes the blobs of the next item.
func (h *heldBlobs) add(blobs []functions.Attachment, stream bool) {
	if h.byDigest == nil {
		h.byDigest = map[functions.Digest]heldBlob{}
	}
	for _, att := range blobs {
		h.byDigest[att.Digest] = heldBlob{att, h.items}
	}
	h.items++
	if !stream {
		return
	}
	h.recent = append(h.recent, blobs)
	if len(h.recent) <= functions.HeldItems {
		return
	}
	old := h.items - uint64(len(h.recent))
	for _, att := range h.recent[0] {
		if held, ok := h.byDigest[att.Digest]; ok && held.item == old {
			delete(h.byDigest, att.Digest)
		}
	}
	h.recent[0] = nil
	h.recent = h.recent[1:]
}

func (h *heldBlobs) find(d functions.Digest) (functions.Attachment, bool) {
	held, ok := h.byDigest[d]
	return held.Attachment, ok
}

// madeBlobs are those that the guest made and has not sent. The same bytes may have been made several times: each time is
// for another item.
type madeBlobs map[functions.Digest]*madeBlob

type madeBlob struct {
	functions.Attachment
	times int
}

func (m madeBlobs) add(att functions.Attachment) {
	if same := m[att.Digest]; same != nil {
		same.times++
		return
	}
	m[att.Digest] = &madeBlob{att, 1}
}

func (m madeBlobs) take(d functions.Digest) (att functions.Attachment, ok bool) {
	made := m[d]
	if made == nil {
		return att, false
	}
	if made.times--; made.times == 0 {
		delete(m, d)
	}
	return made.Attachment, true
}

// attach returns the blobs that the value v refers to, whose bytes have to travel with it: those of own, those that the
// guest has made, and those that came with its input. Made is how many bytes of it were the guest's.
func (c *call) attach(v []byte, own []functions.Attachment) (blobs []functions.Attachment, made int64) {
	if len(c.inputs.byDigest) == 0 && len(c.made) == 0 {
		return own, 0
	}
	refs, err := value.Blobs(c.manifest.Out.Schema, v)
	if err != nil {
		c.abort(fmt.Errorf("%w: the output of function %s: %w", functions.ErrFunction, c.manifest.Name, notInvalid(err)))
	}
	blobs = own
	for _, ref := range refs {
		if slices.ContainsFunc(blobs, func(a functions.Attachment) bool { return a.Digest == ref.Digest }) {
			continue
		}
		if att, ok := c.made.take(ref.Digest); ok {
			blobs = append(blobs, att)
			made += att.Size
		} else if att, ok := c.inputs.find(ref.Digest); ok {
			blobs = append(blobs, att)
		}
	}
	return blobs, made
}

// spend takes n bytes from what the output may have, or ends the call. What one call may yield is limits.out; of a call
// with a stream as its input that is what it may hold ready for one item, and free gives it back.
func (c *call) spend(n int64) {
	if n > c.left {
		what := "the output is"
		if c.manifest.In.Stream {
			what = "one item of the output, with the blobs that are ready to be sent, is"
		}
		c.abort(fmt.Errorf("%w: %s larger than %d bytes: raise limits.out of function %s",
			functions.ErrOutputLimit, what, c.manifest.CallLimits().OutBytes, c.manifest.Name))
	}
	c.left -= n
}

func (c *call) free(n int64) {
	if c.manifest.In.Stream {
		c.left += n
	}
}
