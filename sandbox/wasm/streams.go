package wasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
)

var errEOF = io.EOF

// stream is a descriptor that moves items.
type stream interface {
	descriptor
	// recv copies the next item into buf and returns its size, or one of the negative results. An item larger than
	// buf stays.
	recv(c *call, buf []byte) int64
	// send takes an item, which is its own from then on, and returns an errno.
	send(c *call, item []byte) uint32
	// room returns the errno with which an item of that size can't be sent now. It is asked before the item is copied,
	// which may be as large as the guest's memory.
	room(c *call, size int64) uint32
	// readable and writable report whether recv and send need not wait.
	readable() bool
	writable() bool
	// blocks reports whether recv and send wait for what they are asked, and setBlocks changes that.
	blocks() bool
	setBlocks(c *call, on bool)
	// part returns what fd_read has left of the item that it has begun.
	part() *[]byte
	// fail notes why recv has failed and returns its result.
	fail(errno uint32) int64
	// info tells of the item received last, or returns the errno for which there was none.
	info(c *call) (itemInfo, uint32)
	// mark sets the turn and the time of what is sent next.
	mark(c *call, m mark) uint32
}

// itemInfo is what the guest can learn of an item.
type itemInfo struct {
	seq, turn uint64
	time      time.Time
}

// open serves a guest's request. It returns a descriptor or a negative errno.
func (c *call) open(request string) int32 {
	kind, arg, ok := strings.Cut(request, ":")
	if !ok {
		return -abi.Inval
	}
	switch kind + ":" {
	case abi.OpenModel:
		if !slices.Contains(c.manifest.Uses.Models, arg) {
			c.hostFailed(fmt.Errorf("%w: function %s does not declare the model %q: add it to uses.models", functions.ErrDenied, c.manifest.Name, arg))
			return -abi.Access
		}
		return c.add(&modelStream{model: arg})
	case abi.OpenBlob:
		att, ok := c.inputs.find(functions.Digest(arg))
		if !ok {
			c.hostFailed(fmt.Errorf("%w: blob %s does not travel with the input of function %s", functions.ErrNotFound, arg, c.manifest.Name))
			return -abi.NoEnt
		}
		return c.add(&blobStream{left: att.Data})
	case abi.NewBlob:
		if arg == "" {
			return -abi.Inval
		}
		return c.add(&newBlobStream{mediaType: arg})
	case abi.OpenTurns:
		if arg != "" {
			return -abi.Inval
		}
		return c.add(&turnsStream{})
	}
	return -abi.Inval
}

// endpoint is a stream that neither waits, sends nor receives: what the others have in common.
type endpoint struct {
	nonblock bool
	failed   uint32 // errno of the last recv
	rest     []byte // of an item that fd_read has begun
}

func (p *endpoint) fail(errno uint32) int64 {
	p.failed = errno
	return abi.RecvFailed
}

func (p *endpoint) recv(*call, []byte) int64      { return p.fail(abi.BadF) }
func (*endpoint) send(*call, []byte) uint32       { return abi.BadF }
func (*endpoint) room(*call, int64) uint32        { return abi.BadF }
func (*endpoint) readable() bool                  { return true }
func (*endpoint) writable() bool                  { return true }
func (p *endpoint) blocks() bool                  { return !p.nonblock }
func (p *endpoint) setBlocks(_ *call, on bool)    { p.nonblock = !on }
func (p *endpoint) info(*call) (itemInfo, uint32) { return itemInfo{}, p.errno(abi.NoEnt) }
func (*endpoint) mark(*call, mark) uint32         { return abi.BadF }
func (*endpoint) close(*call)                     {}
func (p *endpoint) part() *[]byte                 { return &p.rest }

func (p *endpoint) errno(otherwise uint32) uint32 {
	if p.failed != abi.Success {
		return p.failed
	}
	return otherwise
}

// offer is an item on its way to the guest, which may have to ask twice.
type offer struct {
	item []byte
	held bool
}

func (o *offer) hold(item []byte) { o.item, o.held = item, true }

func (o *offer) give(buf []byte) int64 {
	n := int64(len(o.item))
	if n <= int64(len(buf)) {
		copy(buf, o.item)
		*o = offer{}
	}
	return n
}

// feed is a stream that receives items of T, by itself or through a goroutine that is one item ahead.
type feed[T any] struct {
	endpoint
	ahead *ahead[T] // nil as long as the descriptor blocks
	next  offer
	ended bool
}

// pull takes the next item: by direct, or from the goroutine. It returns errAgain if a descriptor that does not block
// has none, and the cause of the call's context if that has ended.
func (f *feed[T]) pull(c *call, direct func(context.Context) (T, error)) (item T, err error) {
	if f.ahead == nil {
		return direct(c.ctx)
	}
	if !f.nonblock && !c.await(f.ahead.ready) {
		return item, context.Cause(c.ctx)
	}
	return f.ahead.take()
}

func (f *feed[T]) readable() bool {
	return f.next.held || f.ended || f.ahead == nil || f.ahead.ready()
}

func (f *feed[T]) close(*call) {
	if f.ahead != nil {
		f.ahead.stop()
	}
}

// inputStream is the call's input.
type inputStream struct {
	feed[functions.Item]
	src functions.Source
}

func (s *inputStream) recv(c *call, buf []byte) int64 {
	s.failed = abi.Success
	if !s.next.held {
		if s.ended {
			return abi.RecvEnd
		}
		it, err := s.take(c)
		switch {
		case err == errAgain:
			return abi.RecvAgain
		case errors.Is(err, errEOF):
			s.ended = true
			return abi.RecvEnd
		case err != nil:
			c.broken(err)
			return s.fail(abi.Canceled)
		}
		s.next.hold(c.accept(it))
	}
	return s.next.give(buf)
}

func (s *inputStream) take(c *call) (functions.Item, error) {
	if s.ahead != nil && !s.nonblock {
		c.async.idles(true)
		defer c.async.idles(false)
	}
	return s.pull(c, s.src.Recv)
}

func (s *inputStream) setBlocks(c *call, on bool) {
	s.nonblock = !on
	if on || s.ahead != nil {
		return
	}
	a := c.startAsync()
	a.report = functions.Ahead(s.src)
	s.ahead = readAhead(c.ctx, a, func(ctx context.Context) (functions.Item, error) {
		it, err := s.src.Recv(ctx)
		if err != nil && !errors.Is(err, errEOF) && ctx.Err() == nil {
			a.cancel(err) // the guest may be waiting for something else
		}
		return it, err
	}, nil)
}

func (s *inputStream) info(c *call) (itemInfo, uint32) {
	if c.inputs.items == 0 || s.failed != abi.Success {
		return itemInfo{}, s.errno(abi.NoEnt)
	}
	return itemInfo{c.last.Seq, c.last.Turn, c.last.Time}, abi.Success
}

// outputStream is the call's output. What it is behind with is the call's: it outlives the descriptor.
type outputStream struct {
	endpoint
	behind *behind // the call's, once it has one
}

func (s *outputStream) writable() bool { return !s.nonblock || s.behind.ready() }

func (s *outputStream) room(c *call, size int64) uint32 {
	switch {
	case size == 0:
		return abi.Inval // no encoding has a value of no bytes
	case c.behind == nil || c.behind.ready():
	case s.nonblock:
		return abi.Again
	case !c.await(c.behind.ready):
		return abi.Canceled
	}
	if size > c.left {
		c.spend(size) // ends the call
	}
	return abi.Success
}

func (s *outputStream) send(c *call, item []byte) uint32 {
	c.emit(item)
	if c.behind != nil && !s.nonblock && !c.await(c.behind.ready) {
		return abi.Canceled
	}
	if c.async != nil && c.ended() {
		return abi.Canceled
	}
	return abi.Success
}

func (s *outputStream) setBlocks(c *call, on bool) {
	s.nonblock = !on
	if !on && c.behind == nil {
		c.behind = sendBehind(c.ctx, c.startAsync(), c.sink)
		s.behind = c.behind
	}
}

func (s *outputStream) mark(c *call, m mark) uint32 {
	c.mark = m
	return abi.Success
}

// blobStream yields a blob of the input in pieces.
type blobStream struct {
	endpoint
	left []byte
}

func (s *blobStream) recv(_ *call, buf []byte) int64 {
	if len(s.left) == 0 {
		return abi.RecvEnd
	}
	if len(buf) == 0 {
		return int64(len(s.left))
	}
	n := copy(buf, s.left)
	s.left = s.left[n:]
	return int64(n)
}

// newBlobStream makes a blob of pieces.
type newBlobStream struct {
	endpoint
	mediaType string
	data      []byte
	ref       offer
	made      bool
}

func (s *newBlobStream) room(c *call, size int64) uint32 {
	if size > c.left {
		c.spend(size) // ends the call
	}
	return abi.Success
}

func (s *newBlobStream) send(c *call, piece []byte) uint32 {
	if s.made {
		return abi.Pipe
	}
	c.spend(int64(len(piece)))
	if s.data == nil {
		s.data = piece // most blobs come in one
	} else {
		s.data = append(s.data, piece...)
	}
	return abi.Success
}

func (s *newBlobStream) recv(c *call, buf []byte) int64 {
	if !s.made {
		att := functions.Attach(s.mediaType, s.data)
		ref, err := c.encode(att.Blob)
		if err != nil {
			c.hostFailed(err)
			return s.fail(abi.IO)
		}
		c.made.add(att)
		s.made = true
		s.ref.hold(ref)
	}
	if !s.ref.held {
		return abi.RecvEnd
	}
	return s.ref.give(buf)
}

func (s *newBlobStream) close(c *call) {
	if !s.made {
		c.free(int64(len(s.data)))
	}
}

// turnsStream yields the first turn that is not over, whenever it changes.
type turnsStream struct {
	feed[uint64]
	first uint64 // that was yielded last
}

// wait is for one goroutine at a time: the guest's, or the one that is ahead of it.
func (s *turnsStream) wait(turns *functions.Turns, ctx context.Context) (uint64, error) {
	for {
		first, changed := turns.First()
		if first > s.first {
			s.first = first
			return first, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func (s *turnsStream) recv(c *call, buf []byte) int64 {
	s.failed = abi.Success
	if !s.next.held {
		first, err := s.pull(c, func(ctx context.Context) (uint64, error) { return s.wait(c.host.Turns(), ctx) })
		if err == errAgain {
			return abi.RecvAgain
		}
		var item []byte
		if err == nil {
			item, err = c.encode(first)
		}
		if err != nil {
			c.check()
			c.hostFailed(err)
			return s.fail(c.errnoOf(err))
		}
		s.next.hold(item)
	}
	return s.next.give(buf)
}

func (s *turnsStream) setBlocks(c *call, on bool) {
	s.nonblock = !on
	if !on && s.ahead == nil {
		turns := c.host.Turns()
		s.ahead = readAhead(c.ctx, c.startAsync(), func(ctx context.Context) (uint64, error) { return s.wait(turns, ctx) }, nil)
	}
}
