package functions

import "slices"

// HeldItems is how long a call with a stream as its input can read, and send on, a blob that came with an item: until so
// many later items have come.
const HeldItems = 64

// HeldBlobs are the blobs of the latest [HeldItems] items of a call's input. The zero value holds none. One goroutine at
// a time may use it.
type HeldBlobs struct{ items [][]Attachment } // from the first item that had one; the oldest first

// Add takes the blobs of the next item; those of the oldest one go.
func (h *HeldBlobs) Add(blobs []Attachment) {
	if len(blobs) == 0 && len(h.items) == 0 {
		return
	}
	if h.items = append(h.items, blobs); len(h.items) > HeldItems {
		h.items = slices.Delete(h.items, 0, 1)
	}
}

// Find returns the blob of that digest.
func (h *HeldBlobs) Find(d Digest) (Attachment, bool) {
	for _, blobs := range slices.Backward(h.items) {
		for _, a := range blobs {
			if a.Digest == d {
				return a, true
			}
		}
	}
	return Attachment{}, false
}
