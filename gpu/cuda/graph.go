package cuda

import "errors"

// relaxed captures may be begun and ended on different threads, and forbid nothing to other threads meanwhile.
const relaxed = 2

// Graph is work that was captured once and can be handed in again and again, each pointer as it was. It lives until Close, and may
// be launched whenever the memory behind its pointers is there. One goroutine at a time uses it.
type Graph struct {
	device *Device
	handle uintptr // of the form that can be launched
}

// Capture returns what f hands in to the stream, which is not carried out. The caller closes the graph.
func (s *Stream) Capture(f func() error) (*Graph, error) {
	fn := &s.device.driver.fn
	if err := s.device.do("cuStreamBeginCapture", func() Code { return fn.captureBegin(s.handle, relaxed) }); err != nil {
		return nil, err
	}
	err := f()
	var captured uintptr
	err = errors.Join(err, s.device.do("cuStreamEndCapture", func() Code { return fn.captureEnd(s.handle, &captured) }))
	if captured == 0 {
		return nil, err
	}
	g := &Graph{device: s.device}
	if err == nil {
		err = s.device.do("cuGraphInstantiate", func() Code { return fn.graphInstantiate(&g.handle, captured, 0) })
	}
	err = errors.Join(err, s.device.do("cuGraphDestroy", func() Code { return fn.graphDestroy(captured) }))
	if err != nil {
		return nil, err
	}
	return g, nil
}

// Launch hands all of the graph in.
func (g *Graph) Launch(s *Stream) error {
	return g.device.do("cuGraphLaunch", func() Code { return g.device.driver.fn.graphLaunch(g.handle, s.handle) })
}

// Close frees the graph. It must not be under way.
func (g *Graph) Close() error {
	return g.device.do("cuGraphExecDestroy", func() Code { return g.device.driver.fn.graphFree(g.handle) })
}
