package wasm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
	"github.com/catenary-run/catenary/sandbox/wasm/scratch"
)

// limitStart returns ctx with the function's own time limit, for what has to be done before its first call. The caller
// ends it, with nil.
func limitStart(ctx context.Context, m *functions.Manifest) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	limit := m.Limits.WithDefaults().Time
	ctx, stop := context.WithTimeoutCause(ctx, limit, &timeLimit{m.Name, limit})
	return ctx, func(cause error) {
		cancel(cause)
		stop()
	}
}

// limitCall returns ctx with the function's own time limit for a call, if it has one: a stream may take any time.
func limitCall(ctx context.Context, m *functions.Manifest) (_ context.Context, left *functions.Allowance, stop func()) {
	if limit := m.CallLimits().Time; limit > 0 {
		return functions.WithAllowance(ctx, limit, &timeLimit{m.Name, limit})
	}
	return ctx, nil, func() {}
}

// timeLimit is why a call ends that took too long. Most calls don't: its text is made when somebody reads it.
type timeLimit struct {
	function string
	limit    time.Duration
}

func (e *timeLimit) Error() string {
	return fmt.Sprintf("%v: function %s ran for %s: raise limits.time", functions.ErrTimeLimit, e.function, e.limit)
}

func (e *timeLimit) Unwrap() error { return functions.ErrTimeLimit }

// serve runs one call on g, which has to be reset afterwards, whatever came out.
func (p *program) serve(c *call, g *guest, src functions.Source, sink functions.Sink) error {
	c.sink = sink
	if err := c.try(c.check); err != nil {
		return err
	}
	if p.command != nil {
		return p.serveCommand(c, g, src)
	}
	return p.serveReactor(c, g, src)
}

func (p *program) serveReactor(c *call, g *guest, src functions.Source) error {
	stack := []uint64{uint64(c.add(&inputStream{src: src})), uint64(c.add(&outputStream{}))}
	if err := g.enter(c, abi.Call, stack); err != nil {
		return err
	}
	if c.exited {
		return c.exit()
	}
	if err := c.flush(); err != nil {
		return err
	}
	result := int32(stack[0])
	if result == abi.CallOK {
		if c.sent == 0 && !c.manifest.Out.Stream {
			return fmt.Errorf("%w: function %s returned no value", functions.ErrFunction, c.manifest.Name)
		}
		return nil
	}
	if g.mem.Refused() {
		return c.memoryLimit()
	}
	return c.failed(result)
}

// failed returns the error of a call whose guest said that it failed.
func (c *call) failed(result int32) error {
	text := c.failure
	if text == "" {
		text = "it gave no reason"
	}
	class := functions.ErrFunction
	switch {
	case result == abi.CallInvalid:
		class = functions.ErrInvalid
	case result == abi.CallHost && c.hostErr != nil:
		// The class is that of the host's own error: a model that is gone for now can be asked again.
		return fmt.Errorf("function %s: %s: %w", c.manifest.Name, text, c.hostErr)
	}
	text = strings.TrimPrefix(text, class.Error()+": ")
	return fmt.Errorf("%w: function %s: %s", class, c.manifest.Name, text)
}

func (p *program) serveCommand(c *call, g *guest, src functions.Source) error {
	dir := scratch.New(p.limits.OutBytes)
	var stdout []byte
	err := c.try(func() {
		v, ok := c.receive(src)
		if !ok {
			c.abort(fmt.Errorf("%w: function %s: no value came", functions.ErrInvalid, c.manifest.Name))
		}
		blobs := map[functions.Digest]functions.Attachment{}
		for _, att := range c.last.Blobs {
			blobs[att.Digest] = att
		}
		args, err := p.command.bind(v, blobs, dir)
		if err != nil {
			c.abort(err)
		}
		c.args = args
	})
	if err != nil {
		return err
	}
	if p.command.out == "" {
		c.capture = &stdout
	}
	c.mountScratch(dir.Root())
	if err := g.enter(c, abi.Start, nil); err != nil {
		return err
	}
	switch {
	case dir.Refused():
		return fmt.Errorf("%w: function %s wrote more than %d bytes of files: raise limits.out", functions.ErrOutputLimit, c.manifest.Name, p.limits.OutBytes)
	case c.exited && c.exitCode != 0:
		text := fmt.Sprintf("exit status %d", c.exitCode)
		if c.stderr.last != "" {
			text += ": " + c.stderr.last
		}
		return fmt.Errorf("%w: function %s: %s", functions.ErrFunction, c.manifest.Name, text)
	}
	return c.try(func() {
		left, err := p.command.output(dir, stdout)
		if err != nil {
			c.abort(p.noOutput(err))
		}
		if p.command.out != "" { // standard output was counted as it came
			c.spend(int64(len(left)))
		}
		v, blobs, err := p.command.result(left)
		if err != nil {
			c.abort(p.noOutput(err))
		}
		c.left += int64(len(v)) // the value stands for bytes that have been counted
		c.emit(v, blobs...)
	})
}

func (p *program) noOutput(err error) error {
	return fmt.Errorf("%w: the output of function %s: %w", functions.ErrFunction, p.manifest.Name, errors.New(functions.OneLine(err)))
}
