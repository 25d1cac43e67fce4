package cuda

import (
	"errors"
	"time"
	"unsafe"
)

// nonBlocking streams, and only those, do not wait for the legacy default stream.
const nonBlocking = 1

// Stream is a queue of work on a device: it is done in order, and later than the call returns. One goroutine at a time
// uses it.
type Stream struct {
	device *Device
	handle uintptr
}

// NewStream returns a stream, which the caller closes.
func (d *Device) NewStream() (*Stream, error) {
	s := &Stream{device: d}
	err := d.do("cuStreamCreate", func() Code { return d.driver.fn.streamCreate(&s.handle, nonBlocking) })
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Copy copies from host memory, which must stay as it is until Synchronize. It is fast, and goes on beside other work,
// from a [Master] that is pinned.
func (s *Stream) Copy(dst Addr, src []byte) error {
	return s.device.do("cuMemcpyHtoDAsync", func() Code {
		return s.device.driver.fn.copyToDevice(dst, unsafe.Pointer(unsafe.SliceData(src)), uint64(len(src)), s.handle)
	})
}

// Read copies to host memory, which is not valid before Synchronize.
func (s *Stream) Read(dst []byte, src Addr) error {
	return s.device.do("cuMemcpyDtoHAsync", func() Code {
		return s.device.driver.fn.copyFromDevice(unsafe.Pointer(unsafe.SliceData(dst)), src, uint64(len(dst)), s.handle)
	})
}

// Fill sets n bytes to value.
func (s *Stream) Fill(dst Addr, value byte, n int64) error {
	return s.device.do("cuMemsetD8Async", func() Code { return s.device.driver.fn.fill(dst, value, uint64(n), s.handle) })
}

// Wait lets later work of the stream begin only when the event has happened.
func (s *Stream) Wait(e *Event) error {
	return s.device.do("cuStreamWaitEvent", func() Code { return s.device.driver.fn.streamWait(s.handle, e.handle, 0) })
}

// Record lets the event happen when all work so far is done.
func (s *Stream) Record(e *Event) error {
	return s.device.do("cuEventRecord", func() Code { return s.device.driver.fn.eventRecord(e.handle, s.handle) })
}

// Synchronize waits for all work of the stream, and returns the error that it ended with.
func (s *Stream) Synchronize() error {
	return s.device.do("cuStreamSynchronize", func() Code { return s.device.driver.fn.streamSync(s.handle) })
}

// Close frees the stream.
func (s *Stream) Close() error {
	return s.device.do("cuStreamDestroy", func() Code { return s.device.driver.fn.streamDestroy(s.handle) })
}

// Event is a point in a stream's work. It may be used from many goroutines, once it is recorded.
type Event struct {
	device *Device
	handle uintptr
}

// NewEvent returns an event that has not been recorded, which the caller closes.
func (d *Device) NewEvent() (*Event, error) {
	e := &Event{device: d}
	err := d.do("cuEventCreate", func() Code { return d.driver.fn.eventCreate(&e.handle, 0) })
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Done reports whether the event has happened.
func (e *Event) Done() (bool, error) {
	err := e.device.do("cuEventQuery", func() Code { return e.device.driver.fn.eventQuery(e.handle) })
	if failed, ok := errors.AsType[*Error](err); ok && failed.Code == codeNotReady {
		return false, nil
	}
	return err == nil, err
}

// Synchronize waits until the event has happened.
func (e *Event) Synchronize() error {
	return e.device.do("cuEventSynchronize", func() Code { return e.device.driver.fn.eventSync(e.handle) })
}

// Since is the device's own time from one event to another. Both must have happened.
func (e *Event) Since(from *Event) (time.Duration, error) {
	var ms float32
	err := e.device.do("cuEventElapsedTime", func() Code { return e.device.driver.fn.eventElapsed(&ms, from.handle, e.handle) })
	return time.Duration(float64(ms) * float64(time.Millisecond)), err
}

// Close frees the event.
func (e *Event) Close() error {
	return e.device.do("cuEventDestroy", func() Code { return e.device.driver.fn.eventDestroy(e.handle) })
}
