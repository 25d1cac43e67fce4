package wasm

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/catenary-run/catenary/sandbox/wasm/abi"
)

// Layout of poll_oneoff.
const (
	subscriptionBytes = 48
	eventBytes        = 32
	maxSubscriptions  = 4096

	eventClock    = 0
	eventFDRead   = 1
	eventFDWrite  = 2
	clockAbsolute = 1
)

// pollOneoff waits for the first of the guest's timers and descriptors. What has been set non-blocking waits here; all
// else is always ready. When the call ends, all that it waits for comes with ECANCELED: see ended.
func pollOneoff(c *call, mem guestMemory, s []uint64) {
	in, out, n, result := uint32(s[0]), uint32(s[1]), uint32(s[2]), uint32(s[3])
	if n == 0 || n > maxSubscriptions {
		s[0] = abi.Inval
		return
	}
	p := poll{c: c, started: c.clock.now()}
	for {
		p.ended = c.ended()
		p.look(mem.view(in, n*subscriptionBytes), mem.view(out, n*eventBytes))
		if p.count > 0 {
			mem.putU32(result, p.count)
			s[0] = abi.Success
			return
		}
		p.wait()
	}
}

// poll is one call of poll_oneoff.
type poll struct {
	c       *call
	started int64
	ended   bool
	count   uint32 // of events
	first   int64  // nanoseconds until the first timer goes off, or the most there is
	input   bool   // the guest waits for its input
	model   bool   // and for a model, which is its work
}

// look writes an event for each subscription that has come true.
func (p *poll) look(subs, events []byte) {
	le := binary.LittleEndian
	p.count, p.first, p.input, p.model = 0, math.MaxInt64, false, false
	for ; len(subs) > 0; subs = subs[subscriptionBytes:] {
		kind := subs[8]
		var errno uint32
		var ready bool
		switch kind {
		case eventClock:
			errno, ready = p.timer(le.Uint32(subs[16:]), le.Uint64(subs[24:]), le.Uint16(subs[40:])&clockAbsolute != 0)
		case eventFDRead, eventFDWrite:
			errno, ready = p.descriptor(int32(le.Uint32(subs[16:])), kind == eventFDWrite)
		default:
			errno, ready = abi.Inval, true
		}
		if !ready {
			continue
		}
		event := events[p.count*eventBytes:][:eventBytes]
		clear(event)
		copy(event, subs[:8]) // the guest's own word for the subscription
		le.PutUint16(event[8:], uint16(errno))
		event[10] = kind
		if kind != eventClock && errno == abi.Success {
			le.PutUint64(event[16:], 1) // bytes that can be moved: some
		}
		p.count++
	}
	if p.ended {
		p.c.async.hailed = true
	}
}

// timer reports whether a timer has gone off. The end of the call sets all off, once: a guest that only sleeps then has
// to look at what else there is.
func (p *poll) timer(id uint32, timeout uint64, absolute bool) (errno uint32, ready bool) {
	at := int64(min(timeout, math.MaxInt64))
	now, ok := p.c.clock.read(id)
	if !absolute {
		// From the start of the poll, by the monotonic clock whichever was asked for.
		at, now = satAdd(at, p.started), p.c.clock.now()
	}
	switch {
	case !ok:
		return abi.Inval, true
	case p.ended && !p.c.async.hailed:
		return abi.Canceled, true
	case at <= now:
		return abi.Success, true
	}
	p.first = min(p.first, at-now)
	return 0, false
}

// descriptor reports whether a descriptor is ready.
func (p *poll) descriptor(fd int32, write bool) (errno uint32, ready bool) {
	st, ok := p.c.fds[fd].(stream)
	switch {
	case !ok && !p.c.knows(fd):
		return abi.BadF, true
	case !ok || st.blocks():
		return abi.Success, true
	case p.ended:
		return abi.Canceled, true
	case write:
		return abi.Success, st.writable()
	}
	if len(*st.part()) > 0 || st.readable() {
		return abi.Success, true
	}
	switch st.(type) {
	case *inputStream:
		p.input = true
	case *modelStream:
		p.model = true
	}
	return abi.Success, false
}

// wait blocks until it is worth another look.
func (p *poll) wait() {
	var wake <-chan struct{}
	ended := p.c.ctx.Done()
	if a := p.c.async; a != nil {
		wake = a.wake
	}
	if p.ended {
		ended = nil
		p.first = min(p.first, int64(time.Until(p.c.async.stopAt))+1)
	}
	var timeout <-chan time.Time
	switch a := p.c.async; {
	case p.first == math.MaxInt64:
	case a != nil:
		timeout = a.alarm(time.Duration(p.first))
	default:
		timer := time.NewTimer(time.Duration(p.first))
		defer timer.Stop()
		timeout = timer.C
	}
	if p.idle() {
		p.c.async.idles(true)
		defer p.c.async.idles(false)
	}
	select {
	case <-timeout:
		if a := p.c.async; a != nil {
			a.rings = time.Time{}
		}
	case <-wake:
	case <-ended:
	}
}

// idle reports whether the guest is about to wait for its input, and for nothing that is its own work. Whether its output
// waits for room, who takes that knows.
func (p *poll) idle() bool {
	return p.input && !p.model && (p.c.behind == nil || p.c.behind.ready())
}

// alarm returns a channel that yields something in d, or sooner: a guest that waits anew for each item, with a timer that
// rarely goes off, keeps the one that is set. To set one may take a thread's wake, more than all else in a short wait.
func (a *async) alarm(d time.Duration) <-chan time.Time {
	switch at := time.Now().Add(d); {
	case a.timer == nil:
		a.timer, a.rings = time.NewTimer(d), at
	case a.rings.IsZero() || at.Before(a.rings):
		a.timer.Reset(d)
		a.rings = at
	}
	return a.timer.C
}

func satAdd(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
