package guest

import (
	"runtime"
	"runtime/debug"

	"github.com/catenary-run/catenary/functions"
)

const (
	// headroom is memory that the image holds ready: to grow is dear, and what has grown can't be reset.
	headroom = 4 << 20
	// gcPercent lets the heap grow to nine times what is live, and to 32 MiB at least, before the collector runs:
	// most calls end before that, and then all of the instance is thrown away at once.
	gcPercent = 800
	// duplexGCPercent has the collector run from 4 MiB on, which is the headroom: a call that lasts for a conversation
	// would fill any other in time.
	duplexGCPercent = 100
	// smallObject is a size for garbage, in bytes.
	smallObject = 256
	// span is what Go divides into small objects, in bytes.
	span = 8 << 10
)

// ballast and pointers keep prepare's allocations from being left out.
var (
	ballast  []byte
	pointers []*byte
)

// prepare is the ABI's catenary_prepare: it leaves a heap that is clean and has room.
//
//go:wasmexport catenary_prepare
func prepare(memBytes int64) {
	percent := gcPercent
	if served != nil && served.duplex {
		percent = duplexGCPercent
		rehearse()
	} else {
		ballast = make([]byte, headroom)
		everySize()
	}
	ballast, pointers = nil, nil
	runtime.GC()
	debug.SetGCPercent(percent)
	debug.SetMemoryLimit(memBytes / 4 * 3) // near the limit, collect rather than fail
}

// rehearse fills the headroom with small objects and uses the poller, so that the runtime makes what it keeps beside the
// heap: for spans, for each size of objects, for marks, descriptors, timers and finalizers. It takes that from the host in
// pieces of up to 256 KiB, whatever room the heap has, and uses it again and again. Without it a call of a hundred items
// grows the memory. Go collects meanwhile as it will in the calls.
func rehearse() {
	debug.SetGCPercent(-1) // all of the first objects are there at once, though nobody holds them
	for range headroom / 2 / span {
		ballast = make([]byte, span)
	}
	everySize()
	debug.SetGCPercent(duplexGCPercent)
	for range 3 * headroom / smallObject {
		ballast = make([]byte, smallObject)
	}
	e := &duplexEnv{cancel: func(error) {}, turns: functions.NewTurns()}
	if stop, err := e.followTurns(); err == nil {
		runtime.Gosched() // it waits
		stop()
	}
}

// everySize makes two spans of each size of small objects, with pointers and without.
func everySize() {
	for size := 8; size <= span/4; size += max(8, size/8) {
		for range 2 * span / size {
			ballast, pointers = make([]byte, size), make([]*byte, size/8)
		}
	}
}
