package wasm

import (
	"context"
	"errors"
	"fmt"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
)

// modelStream is one generation: a request, then tokens.
type modelStream struct {
	feed[functions.Token]
	model  string
	turn   mark // that it belongs to
	asked  bool
	ctx    context.Context    // of the generation: it ends with the turn; nil before the request
	forget context.CancelFunc // of ctx
	tokens functions.Tokens   // nil before the request, and if it is the goroutine's
	count  uint64             // of tokens received
}

func (s *modelStream) mark(_ *call, m mark) uint32 {
	if s.asked {
		return abi.Inval
	}
	s.turn = m
	return abi.Success
}

func (s *modelStream) room(_ *call, size int64) uint32 {
	switch {
	case s.asked:
		return abi.Inval
	case size > abi.MaxModelRequest:
		return abi.TooBig
	}
	return abi.Success
}

func (s *modelStream) send(c *call, item []byte) uint32 {
	var req functions.Generation
	if err := c.decode(item, &req); err != nil {
		c.hostFailed(fmt.Errorf("%w: the request of function %s to model %s: %w", functions.ErrFunction, c.manifest.Name, s.model, notInvalid(err)))
		return abi.Inval
	}
	s.begin(c)
	if s.nonblock {
		host := c.host
		s.readAhead(c, func(ctx context.Context) (functions.Tokens, error) { return host.Generate(ctx, s.model, req) })
		return abi.Success
	}
	tokens, err := c.host.Generate(s.ctx, s.model, req)
	if err != nil {
		errno := s.refused(c, err)
		s.forget()
		s.asked = false
		return errno
	}
	s.tokens = tokens
	return abi.Success
}

// begin makes the context of the generation. Without a mark it belongs to the turn of the item received last; but not in
// a function that opens turns, whose input is older than they are.
func (s *modelStream) begin(c *call) {
	s.asked = true
	if !s.turn.set && !c.manifest.Turns {
		s.turn = mark{set: c.inputs.items > 0, turn: c.last.Turn}
	}
	if s.turn.set {
		s.ctx, s.forget = c.host.Turns().Context(c.ctx, s.turn.turn)
	} else {
		s.ctx, s.forget = context.WithCancel(c.ctx)
	}
}

// readAhead has a goroutine receive the tokens that start gives, and close them in the end.
func (s *modelStream) readAhead(c *call, start func(context.Context) (functions.Tokens, error)) {
	var tokens functions.Tokens
	s.ahead = readAhead(s.ctx, c.startAsync(), func(ctx context.Context) (tok functions.Token, err error) {
		if tokens == nil {
			if tokens, err = start(ctx); err != nil {
				return tok, err
			}
		}
		return tokens.Recv(ctx)
	}, func() {
		if tokens != nil {
			tokens.Close() // ends what is left of the generation; there is nobody to tell
		}
	})
}

func (s *modelStream) setBlocks(c *call, on bool) {
	s.nonblock = !on
	if on {
		return
	}
	c.startAsync()
	if s.tokens != nil {
		tokens := s.tokens
		s.tokens = nil
		s.readAhead(c, func(context.Context) (functions.Tokens, error) { return tokens, nil })
	}
}

func (s *modelStream) readable() bool { return !s.asked || s.feed.readable() }

func (s *modelStream) recv(c *call, buf []byte) int64 {
	s.failed = abi.Success
	if !s.asked {
		return s.fail(abi.Inval)
	}
	if !s.next.held {
		if s.ended {
			return abi.RecvEnd
		}
		token, err := s.token(c)
		switch {
		case err == errAgain:
			return abi.RecvAgain
		case errors.Is(err, errEOF):
			s.ended = true
			return abi.RecvEnd
		}
		var item []byte
		if err == nil {
			item, err = c.encode(token)
		}
		if err != nil {
			return s.fail(s.refused(c, err))
		}
		s.count++
		s.next.hold(item)
	}
	return s.next.give(buf)
}

// token takes the next one. What came of a turn that is over by now does not count.
func (s *modelStream) token(c *call) (functions.Token, error) {
	if s.ctx.Err() != nil {
		return functions.Token{}, context.Cause(s.ctx)
	}
	return s.pull(c, func(context.Context) (functions.Token, error) { return s.tokens.Recv(s.ctx) })
}

// refused notes why the host failed and returns the errno for it.
func (s *modelStream) refused(c *call, err error) uint32 {
	c.check()
	if s.ctx.Err() != nil && c.ctx.Err() == nil {
		err = context.Cause(s.ctx) // whatever the model made of it
	}
	c.hostFailed(err)
	return c.errnoOf(err)
}

func (s *modelStream) info(*call) (itemInfo, uint32) {
	if s.count == 0 || s.failed != abi.Success {
		return itemInfo{}, s.errno(abi.NoEnt)
	}
	return itemInfo{seq: s.count - 1, turn: s.turn.turn}, abi.Success
}

func (s *modelStream) close(c *call) {
	s.feed.close(c)
	if s.tokens != nil {
		s.tokens.Close() // as above
	}
	if s.forget != nil {
		s.forget()
	}
}

// errnoOf returns what a guest is told of an error of the host.
func (c *call) errnoOf(err error) uint32 {
	switch {
	case c.ctx.Err() != nil:
		return abi.Canceled
	case errors.Is(err, functions.ErrInterrupted):
		return abi.Intr
	case errors.Is(err, functions.ErrDenied):
		return abi.Access
	case errors.Is(err, functions.ErrQueueFull), errors.Is(err, functions.ErrUnavailable):
		return abi.Busy
	}
	return abi.IO
}
