package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
)

// call is the state of one call into a guest: what its host functions work on. It lives on the goroutine that runs the
// guest and is dropped with it. Goroutines of its own, see async, have ended before.
type call struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc // ends ctx
	manifest *functions.Manifest
	host     functions.Host
	log      *logger
	clock    clock
	stdout   lines
	stderr   lines
	capture  *[]byte // where standard output goes instead of the log; nil if it is logged

	fds    map[int32]descriptor
	nextFD int32

	args   []string // of a command
	inputs heldBlobs
	last   functions.Item // the input that came last: what is sent takes its turn and time, unless it was marked
	mark   mark           // of the next item that is sent
	sink   functions.Sink
	// allowance is the function's own limit. A guest that does not block has it run on while what it has sent waits: it may
	// be at work.
	allowance *functions.Allowance
	async     *async  // nil as long as the guest blocks
	behind    *behind // what sends to the sink; nil if the guest does
	sent      uint64  // items
	left      int64   // bytes of output that are still allowed
	made      madeBlobs
	failure   string // what the guest gave to fail
	hostErr   error  // what the host answered last when a service failed

	// stop is why the host ended the call, exited whether the guest did, by proc_exit.
	stop     error
	exited   bool
	exitCode uint32
}

// firstFD is the first number that a guest gets that starts anew.
const firstFD = abi.FirstFD

// descriptor is what a number that a guest holds stands for.
type descriptor interface {
	// close frees it.
	close(c *call)
}

// mark is a turn and a time that the guest has set.
type mark struct {
	set  bool
	turn uint64
	time time.Time
}

// newCall returns a call that works under ctx, which cancel ends.
func newCall(ctx context.Context, cancel context.CancelCauseFunc, m *functions.Manifest, host functions.Host, clock clock, nextFD int32) *call {
	c := &call{
		ctx: ctx, cancel: cancel, manifest: m, host: host, log: newLogger(host.Log), clock: clock,
		fds: map[int32]descriptor{}, nextFD: nextFD,
		made: madeBlobs{},
		left: m.CallLimits().OutBytes,
	}
	c.stdout = lines{to: c.log, level: slog.LevelInfo}
	c.stderr = lines{to: c.log, level: slog.LevelInfo}
	return c
}

// end frees what the call holds, and passes on the last unfinished lines.
func (c *call) end() {
	for _, d := range c.fds {
		d.close(c)
	}
	clear(c.fds)
	if c.async != nil {
		c.cancel(nil)
		c.async.pumps.Wait()
		if t := c.async.timer; t != nil {
			t.Stop()
		}
	}
	c.stdout.flush()
	c.stderr.flush()
}

// errStopped unwinds a guest from a host function. The reason is in call.stop or call.exited.
var errStopped = errors.New("the host ended the call")

// abort ends the call from inside a host function: the guest does not run on. The first reason counts.
func (c *call) abort(err error) {
	if c.stop == nil {
		c.stop = err
	}
	panic(errStopped)
}

// try runs f, which may abort, outside the guest. It returns why the call ended, if it did.
func (c *call) try(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if r != any(errStopped) {
				panic(r)
			}
			err = c.stop
		}
	}()
	f()
	return nil
}

// check stops the guest if its call's context has ended and it is not to be told.
func (c *call) check() { c.ended() }

// add gives a descriptor a number. It returns a negative errno if there are too many.
func (c *call) add(d descriptor) int32 {
	if len(c.fds) >= abi.MaxDescriptors {
		return -abi.MFile
	}
	fd := c.nextFD
	c.nextFD++
	c.fds[fd] = d
	return fd
}

// closeFD frees a descriptor. It returns an errno.
func (c *call) closeFD(fd int32) uint32 {
	d, ok := c.fds[fd]
	if !ok {
		return abi.BadF
	}
	delete(c.fds, fd)
	d.close(c)
	return abi.Success
}

// hostFailed notes why a service of the host failed, for a guest that fails in turn.
func (c *call) hostFailed(err error) { c.hostErr = err }

// usesJSON reports whether values are JSON inside the function.
func (c *call) usesJSON() bool {
	return c.manifest.Kind == functions.KindWASM && c.manifest.Encoding == "json"
}

// encode returns a value of the ABI's own, such as a token, in the guest's encoding.
func (c *call) encode(v any) ([]byte, error) {
	if c.usesJSON() {
		return json.Marshal(v)
	}
	return value.Encode(v)
}

func (c *call) decode(b []byte, v any) error {
	if c.usesJSON() {
		return json.Unmarshal(b, v)
	}
	return value.Decode(b, v)
}

// emit sends one value of the guest, which is not used again by it, with the blobs that belong to it: own, and those that
// it refers to. There must be room for it.
func (c *call) emit(v []byte, own ...functions.Attachment) {
	if c.sent > 0 && !c.manifest.Out.Stream {
		c.abort(fmt.Errorf("%w: function %s sent a second value, and its output is not a stream", functions.ErrFunction, c.manifest.Name))
	}
	n := int64(len(v))
	c.spend(n)
	if c.usesJSON() {
		cbor, inline, err := value.FromJSON(c.manifest.Out.Schema, v, nil)
		if err != nil {
			c.abort(fmt.Errorf("%w: the output of function %s: %w", functions.ErrFunction, c.manifest.Name, notInvalid(err)))
		}
		v, own = cbor, append(own, inline...)
	}
	blobs, made := c.attach(v, own)
	it := functions.Item{Value: v, Blobs: blobs, Seq: c.sent, Turn: c.last.Turn, Time: c.last.Time}
	if c.mark.set {
		it.Turn, it.Time = c.mark.turn, c.mark.time
		c.mark = mark{}
	}
	c.free(n + made)
	c.sent++
	if c.behind != nil {
		c.behind.put(it)
	} else if err := c.allowance.Sink(c.sink).Send(c.ctx, it); err != nil {
		c.broken(err)
	}
}

// flush waits until all that was sent has arrived. It returns the cause of the call's context if that ended first, or if
// the guest was told so.
func (c *call) flush() error {
	if c.async == nil {
		return nil
	}
	if c.behind != nil && c.async.stopAt.IsZero() {
		for !c.behind.ready() && c.ctx.Err() == nil {
			select {
			case <-c.async.wake:
			case <-c.ctx.Done():
			}
		}
		if !c.behind.ready() {
			return context.Cause(c.ctx)
		}
	}
	if !c.async.stopAt.IsZero() {
		return context.Cause(c.ctx)
	}
	return nil
}

// notInvalid returns err's text without its class: a wrong output is the function's fault, not the caller's.
func notInvalid(err error) error { return errors.New(functions.OneLine(err)) }

// receive takes the next item of the source for the guest, whose call ends if that fails. It returns false at the end.
func (c *call) receive(in functions.Source) ([]byte, bool) {
	it, err := in.Recv(c.ctx)
	switch {
	case errors.Is(err, errEOF):
		return nil, false
	case err != nil:
		c.abort(err)
	}
	return c.accept(it), true
}

// accept makes it the item that the guest received last, and returns its value as the guest sees it.
func (c *call) accept(it functions.Item) []byte {
	c.last = it
	c.inputs.add(it.Blobs, c.manifest.In.Stream)
	if !c.usesJSON() {
		return it.Value
	}
	text, err := value.ToJSON(c.manifest.In.Schema, it.Value)
	if err != nil {
		c.abort(err)
	}
	return text
}
