package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
)

// call is the state of one call into a guest: what its host functions work on. It lives on the goroutine that runs the
// guest and is dropped with it.
type call struct {
	ctx      context.Context
	manifest *functions.Manifest
	host     functions.Host
	log      *logger
	clock    clock
	stdout   lines
	stderr   lines
	capture  *[]byte // where standard output goes instead of the log; nil if it is logged

	fds    map[int32]descriptor
	nextFD int32

	args    []string // of a command
	inputs  map[functions.Digest]functions.Attachment
	last    functions.Item // the input that came last: outputs take its turn and time
	sink    functions.Sink
	sent    uint64 // items
	left    int64  // bytes of output that are still allowed
	blobs   []functions.Attachment
	failure string // what the guest gave to fail
	hostErr error  // what the host answered last when a service failed

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

func newCall(ctx context.Context, m *functions.Manifest, host functions.Host, clock clock, nextFD int32) *call {
	c := &call{
		ctx: ctx, manifest: m, host: host, log: newLogger(host.Log), clock: clock,
		fds: map[int32]descriptor{}, nextFD: nextFD,
		inputs: map[functions.Digest]functions.Attachment{},
		left:   m.Limits.WithDefaults().OutBytes,
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

// check ends the call if its context has ended.
func (c *call) check() {
	if c.ctx.Err() != nil {
		c.abort(context.Cause(c.ctx))
	}
}

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

// spend takes n bytes from what the output may have, or ends the call.
func (c *call) spend(n int64) {
	if n > c.left {
		c.abort(fmt.Errorf("%w: the output is larger than %d bytes: raise limits.out of function %s",
			functions.ErrOutputLimit, c.manifest.Limits.WithDefaults().OutBytes, c.manifest.Name))
	}
	c.left -= n
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

// emit sends one value of the guest, which is not used again by it, with the blobs that belong to it.
func (c *call) emit(v []byte) {
	if c.sent > 0 && !c.manifest.Out.Stream {
		c.abort(fmt.Errorf("%w: function %s sent a second value, and its output is not a stream", functions.ErrFunction, c.manifest.Name))
	}
	c.spend(int64(len(v)))
	var blobs []functions.Attachment
	if c.usesJSON() {
		cbor, made, err := value.FromJSON(c.manifest.Out.Schema, v, nil)
		if err != nil {
			c.abort(fmt.Errorf("%w: the output of function %s: %w", functions.ErrFunction, c.manifest.Name, notInvalid(err)))
		}
		v, blobs = cbor, made
	}
	blobs = append(blobs, c.blobs...)
	c.blobs = nil
	blobs = append(blobs, c.passedOn(v, blobs)...)
	it := functions.Item{Value: v, Blobs: blobs, Seq: c.sent, Turn: c.last.Turn, Time: c.last.Time}
	if err := c.sink.Send(c.ctx, it); err != nil {
		c.abort(err)
	}
	c.sent++
}

// passedOn returns the blobs of the input that the value v refers to: their bytes have to travel on with it.
func (c *call) passedOn(v []byte, own []functions.Attachment) []functions.Attachment {
	if len(c.inputs) == 0 {
		return nil
	}
	refs, err := value.Blobs(c.manifest.Out.Schema, v)
	if err != nil {
		c.abort(fmt.Errorf("%w: the output of function %s: %w", functions.ErrFunction, c.manifest.Name, notInvalid(err)))
	}
	var passed []functions.Attachment
	for _, ref := range refs {
		same := func(a functions.Attachment) bool { return a.Digest == ref.Digest }
		if att, ok := c.inputs[ref.Digest]; ok && !slices.ContainsFunc(own, same) && !slices.ContainsFunc(passed, same) {
			passed = append(passed, att)
		}
	}
	return passed
}

// notInvalid returns err's text without its class: a wrong output is the function's fault, not the caller's.
func notInvalid(err error) error { return errors.New(functions.OneLine(err)) }

// receive takes the next item of the source for the guest. It returns false at the end.
func (c *call) receive(in functions.Source) ([]byte, bool) {
	it, err := in.Recv(c.ctx)
	switch {
	case errors.Is(err, errEOF):
		return nil, false
	case err != nil:
		c.abort(err)
	}
	c.last = it
	for _, att := range it.Blobs {
		c.inputs[att.Digest] = att
	}
	if !c.usesJSON() {
		return it.Value, true
	}
	text, err := value.ToJSON(c.manifest.In.Schema, it.Value)
	if err != nil {
		c.abort(err)
	}
	return text, true
}
