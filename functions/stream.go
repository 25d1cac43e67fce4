package functions

import (
	"context"
	"io"
	"slices"
	"sync"
)

// Default bounds of an edge: enough to keep both ends busy, little enough that a slow reader is felt at once.
const (
	DefaultEdgeItems = 16
	DefaultEdgeBytes = 4 << 20
)

// Stream is a bounded edge between one writer and one reader. It is full when it holds maxItems items, or when the
// next item would take it past maxBytes (an item larger than that passes alone). The writer ends it with CloseSend,
// the reader gives it up with CloseRecv; both may be called again and from any goroutine, the first call counts.
type Stream struct {
	maxItems int
	maxBytes int64

	mu      sync.Mutex // guards the fields below
	items   queue
	bytes   int64
	first   uint64        // items of earlier turns are dropped
	sendErr error         // set by CloseSend: io.EOF, or why the writer failed
	recvErr error         // set by CloseRecv: why the reader is gone
	changed chan struct{} // closed at the next change; nil while nobody waits for it
}

// queue holds items in order. It uses its memory again.
type queue struct {
	items []Item // those before head are gone
	head  int
}

func (q *queue) len() int { return len(q.items) - q.head }

func (q *queue) push(it Item) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, it)
}

func (q *queue) pop() Item {
	it := q.items[q.head]
	q.items[q.head] = Item{}
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return it
}

// drop takes out the items that gone names.
func (q *queue) drop(gone func(Item) bool) {
	kept := slices.DeleteFunc(q.items[q.head:], gone)
	q.items = q.items[:q.head+len(kept)]
}

// NewStream returns an open stream. A bound of 0 or less takes its default.
func NewStream(maxItems int, maxBytes int64) *Stream {
	if maxItems <= 0 {
		maxItems = DefaultEdgeItems
	}
	if maxBytes <= 0 {
		maxBytes = DefaultEdgeBytes
	}
	return &Stream{maxItems: maxItems, maxBytes: maxBytes}
}

// Send adds it, waiting while the stream is full. It returns the error given to CloseRecv once the reader is gone, and
// [ErrClosed] after CloseSend.
func (s *Stream) Send(ctx context.Context, it Item) error {
	size := it.Size()
	for {
		if ctx.Err() != nil { // nothing passes after the end, room or not
			return context.Cause(ctx)
		}
		s.mu.Lock()
		switch {
		case s.recvErr != nil:
			err := s.recvErr
			s.mu.Unlock()
			return err
		case s.sendErr != nil:
			s.mu.Unlock()
			return ErrClosed
		case it.Turn < s.first:
			s.mu.Unlock()
			return nil
		case s.items.len() == 0 || (s.items.len() < s.maxItems && s.bytes+size <= s.maxBytes):
			s.items.push(it)
			s.bytes += size
			s.broadcast()
			s.mu.Unlock()
			return nil
		}
		wait := s.wait()
		s.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
		}
	}
}

// Recv takes the oldest item. Items sent before CloseSend are still delivered; then it returns io.EOF, or the writer's
// error. After CloseRecv it returns the error given there.
func (s *Stream) Recv(ctx context.Context) (Item, error) {
	for {
		if ctx.Err() != nil {
			return Item{}, context.Cause(ctx)
		}
		s.mu.Lock()
		switch {
		case s.recvErr != nil:
			err := s.recvErr
			s.mu.Unlock()
			return Item{}, err
		case s.items.len() > 0:
			it := s.items.pop()
			s.bytes -= it.Size()
			s.broadcast()
			s.mu.Unlock()
			return it, nil
		case s.sendErr != nil:
			err := s.sendErr
			s.mu.Unlock()
			return Item{}, err
		}
		wait := s.wait()
		s.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
		}
	}
}

// CloseSend ends the stream for its reader: with io.EOF if err is nil, with err otherwise.
func (s *Stream) CloseSend(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sendErr != nil {
		return
	}
	if err == nil {
		err = io.EOF
	}
	s.sendErr = err
	s.broadcast()
}

// CloseRecv drops what the stream holds and makes every Send return err ([ErrClosed] if it is nil).
func (s *Stream) CloseRecv(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.recvErr != nil {
		return
	}
	if err == nil {
		err = ErrClosed
	}
	s.recvErr = err
	s.items, s.bytes = queue{}, 0
	s.broadcast()
}

// Drop takes the items of all turns before first out of the stream, and lets none of them in any more: to send one does
// nothing.
func (s *Stream) Drop(first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first <= s.first {
		return
	}
	s.first = first
	s.items.drop(func(it Item) bool {
		if it.Turn >= first {
			return false
		}
		s.bytes -= it.Size()
		return true
	})
	s.broadcast()
}

// wait returns what is closed at the next change; mu is held.
func (s *Stream) wait() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// broadcast wakes all who wait; mu is held.
func (s *Stream) broadcast() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}
