package gateway

import (
	"container/list"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// results holds the blobs of answers, so that GET /blobs opens what an answer refers to. It is bounded in bytes and in
// age; the oldest goes first.
type results struct {
	maxBytes int64
	maxAge   time.Duration

	mu    sync.Mutex // guards the fields below
	bytes int64
	byDig map[functions.Digest]*list.Element
	order *list.List // of *result, oldest first
}

type result struct {
	blob  functions.Attachment
	since time.Time
}

func newResults(maxBytes int64, maxAge time.Duration) *results {
	return &results{maxBytes: maxBytes, maxAge: maxAge, byDig: map[functions.Digest]*list.Element{}, order: list.New()}
}

// put holds a from now on. It reports false if a alone is larger than all that is held.
func (r *results) put(a functions.Attachment, now time.Time) bool {
	if int64(len(a.Data)) > r.maxBytes {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	if e := r.byDig[a.Digest]; e != nil {
		r.drop(e)
	}
	r.byDig[a.Digest] = r.order.PushBack(&result{a, now})
	for r.bytes += int64(len(a.Data)); r.bytes > r.maxBytes; {
		r.drop(r.order.Front())
	}
	return true
}

// get returns the blob if it is still held.
func (r *results) get(d functions.Digest, now time.Time) (functions.Attachment, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	e := r.byDig[d]
	if e == nil {
		return functions.Attachment{}, false
	}
	return e.Value.(*result).blob, true
}

// size returns the bytes that are held.
func (r *results) size(now time.Time) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	return r.bytes
}

// expire drops what is too old; mu is held.
func (r *results) expire(now time.Time) {
	for e := r.order.Front(); e != nil && now.Sub(e.Value.(*result).since) > r.maxAge; e = r.order.Front() {
		r.drop(e)
	}
}

// drop lets e go; mu is held.
func (r *results) drop(e *list.Element) {
	res := r.order.Remove(e).(*result)
	delete(r.byDig, res.blob.Digest)
	r.bytes -= int64(len(res.blob.Data))
}
