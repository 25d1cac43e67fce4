package gpu

import (
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// worker is one live child process, or what stands for one in a test.
type worker struct {
	client      gpuv1.WorkerClient
	device      string
	version     string
	unavailable string // why there is no engine; empty if there is one

	done   chan struct{} // closed when it has ended and everything of it is gone
	exit   func() string // how it ended, or nothing if nobody needed it any more; only after done
	killed func() bool   // it was ended from outside, so not by what it did; only after done
	stop   func()        // asks it to end, ends it if it does not, and returns after done
	kill   func()        // ends it at once, without waiting
}

// ended reports whether w has ended.
func (w *worker) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// noEngine is the error of every call to a worker without an engine.
func noEngine(w *worker) error {
	return &functions.Failure{Code: functions.CodeOf(functions.ErrNoDevice), Message: w.unavailable}
}
