package wasm

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

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
		att, ok := c.inputs[functions.Digest(arg)]
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
	}
	return -abi.Inval
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

// inputStream is the call's input.
type inputStream struct {
	src   functions.Source
	next  offer
	ended bool
}

func (s *inputStream) recv(c *call, buf []byte) int64 {
	if !s.next.held {
		if s.ended {
			return abi.RecvEnd
		}
		item, ok := c.receive(s.src)
		if !ok {
			s.ended = true
			return abi.RecvEnd
		}
		s.next.hold(item)
	}
	return s.next.give(buf)
}

func (s *inputStream) send(*call, []byte) uint32 { return abi.BadF }
func (s *inputStream) close(*call)               {}

// outputStream is the call's output.
type outputStream struct{}

func (outputStream) recv(*call, []byte) int64 { return abi.RecvFailed }

func (outputStream) send(c *call, item []byte) uint32 {
	if len(item) == 0 {
		return abi.Inval // no encoding has a value of no bytes
	}
	c.emit(item)
	return abi.Success
}

func (outputStream) close(*call) {}

// modelStream is one generation: a request, then tokens.
type modelStream struct {
	model  string
	tokens functions.Tokens // nil before the request
	next   offer
	ended  bool
}

func (s *modelStream) send(c *call, item []byte) uint32 {
	if s.tokens != nil {
		return abi.Inval
	}
	if len(item) > abi.MaxModelRequest {
		return abi.TooBig
	}
	var req functions.Generation
	if err := c.decode(item, &req); err != nil {
		c.hostFailed(fmt.Errorf("%w: the request of function %s to model %s: %w", functions.ErrFunction, c.manifest.Name, s.model, notInvalid(err)))
		return abi.Inval
	}
	tokens, err := c.host.Generate(c.ctx, s.model, req)
	if err != nil {
		c.check()
		c.hostFailed(err)
		if errors.Is(err, functions.ErrDenied) {
			return abi.Access
		}
		return abi.IO
	}
	s.tokens = tokens
	return abi.Success
}

func (s *modelStream) recv(c *call, buf []byte) int64 {
	if s.tokens == nil {
		return abi.RecvFailed
	}
	if !s.next.held {
		if s.ended {
			return abi.RecvEnd
		}
		token, err := s.tokens.Recv(c.ctx)
		if errors.Is(err, errEOF) {
			s.ended = true
			return abi.RecvEnd
		}
		var item []byte
		if err == nil {
			item, err = c.encode(token)
		}
		if err != nil {
			c.check()
			c.hostFailed(err)
			return abi.RecvFailed
		}
		s.next.hold(item)
	}
	return s.next.give(buf)
}

func (s *modelStream) close(*call) {
	if s.tokens != nil {
		s.tokens.Close() // ends what is left of the generation; there is nobody to tell
	}
}

// blobStream yields a blob of the input in pieces.
type blobStream struct{ left []byte }

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

func (s *blobStream) send(*call, []byte) uint32 { return abi.BadF }
func (s *blobStream) close(*call)               {}

// newBlobStream makes a blob of pieces.
type newBlobStream struct {
	mediaType string
	data      []byte
	ref       offer
	made      bool
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
		s.made = true
		att := functions.Attach(s.mediaType, s.data)
		c.blobs = append(c.blobs, att)
		ref, err := c.encode(att.Blob)
		if err != nil {
			c.hostFailed(err)
			return abi.RecvFailed
		}
		s.ref.hold(ref)
	}
	if !s.ref.held {
		return abi.RecvEnd
	}
	return s.ref.give(buf)
}

func (s *newBlobStream) close(*call) {}
