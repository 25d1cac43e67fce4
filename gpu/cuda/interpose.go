package cuda

import (
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/catenary-run/catenary/functions"
)

// taken are the calls that an engine must import, all of them, for its memory to be ours.
var taken = []string{"cudaMalloc", "cudaFree", "cuMemCreate", "cuMemMap", "cuMemUnmap", "cuMemRelease", "cuMemSetAccess"}

// watched are calls that an engine may import and does not use as we set it up; if it does, the model is not parked.
var watched = []string{"cudaMallocManaged"}

// harmless are imports that look like ways to device memory, but are ways to host memory.
var harmless = []string{"cudaMallocHost", "cudaFreeHost"}

// suspects begin the names of all calls that give or take device memory.
var suspects = []string{"cudaMalloc", "cudaFree", "cudaMemPool", "cuMemAlloc", "cuMemFree", "cuMemPool", "cudaMemCreate"}

// engine is one library whose import slots lead to a space.
type engine struct {
	space *Space
	// What the slots led to, where the driver's own calls are not enough.
	free    func(at Addr) Code
	managed func(at *Addr, size uint64, flags uint32) Code
}

// Attach makes the engine library at path, which is loaded already, get its device memory here. From then on, for as long
// as the process lives, it may be called only between Enter and leave, or to free what is left.
//
// It returns an error wrapping [functions.ErrNoDevice], and has changed nothing, if the library does not import what is
// expected: the engine works then, past the space, and its models can't be parked.
func (s *Space) Attach(path string) error {
	lib, err := openLoaded(path)
	if err != nil {
		return fmt.Errorf("%w: attach to %s: %w", functions.ErrNoDevice, path, err)
	}
	slots, err := importSlots(lib)
	if err != nil {
		return fmt.Errorf("%w: attach to %s: %w", functions.ErrNoDevice, path, err)
	}
	if err := s.fits(lib, slots); err != nil {
		return fmt.Errorf("%w: attach to %s: %w", functions.ErrNoDevice, path, err)
	}
	e := &engine{space: s}
	bind(lib, symbol{"cudaFree", &e.free})
	bind(lib, symbol{"cudaMallocManaged", &e.managed})
	for name, callback := range e.callbacks() {
		for _, slot := range slots[name] {
			if err := setSlot(slot, callback); err != nil {
				return fmt.Errorf("attach to %s: %w", path, err)
			}
		}
	}
	return nil
}

// fits checks that the library imports what is taken over, nothing else that allocates, and all of it from the driver that
// we use.
func (s *Space) fits(lib uintptr, slots map[string][]uintptr) error {
	for _, name := range taken {
		if len(slots[name]) == 0 {
			return fmt.Errorf("it does not import %s, so it gets its memory in a way that we don't know", name)
		}
	}
	for name := range slots {
		suspect := slices.ContainsFunc(suspects, func(s string) bool { return strings.HasPrefix(name, s) })
		if suspect && !slices.Contains(taken, name) && !slices.Contains(watched, name) && !slices.Contains(harmless, name) {
			return fmt.Errorf("it imports %s, which we don't know", name)
		}
	}
	theirs, err := purego.Dlsym(lib, "cuMemCreate")
	if err != nil {
		return err
	}
	ours, err := purego.Dlsym(s.device.driver.lib, "cuMemCreate")
	if err != nil {
		return err
	}
	if ours != theirs {
		return fmt.Errorf("it uses another libcuda than we do")
	}
	return nil
}

// callbacks are what the slots get. Each has the form of the C function whose place it takes, and runs on the engine's
// thread.
func (e *engine) callbacks() map[string]uintptr {
	return map[string]uintptr{
		"cudaMalloc":        purego.NewCallback(e.cudaMalloc),
		"cudaFree":          purego.NewCallback(e.cudaFree),
		"cudaMallocManaged": purego.NewCallback(e.cudaMallocManaged),
		"cuMemCreate":       purego.NewCallback(e.cuMemCreate),
		"cuMemMap":          purego.NewCallback(e.cuMemMap),
		"cuMemUnmap":        purego.NewCallback(e.cuMemUnmap),
		"cuMemRelease":      purego.NewCallback(e.cuMemRelease),
		"cuMemSetAccess":    purego.NewCallback(e.cuMemSetAccess),
	}
}

func (e *engine) cudaMalloc(out *Addr, size uint64) uintptr {
	at, err := e.space.allocate(int64(size))
	if err == nil {
		*out = at
	}
	return result(err)
}

func (e *engine) cudaFree(at Addr) uintptr {
	known, err := e.space.free(at)
	if !known {
		return uintptr(e.free(at)) // null, or from before we were attached
	}
	return result(err)
}

func (e *engine) cudaMallocManaged(out *Addr, size uint64, flags uint32) uintptr {
	s := e.space
	s.mu.Lock()
	s.refuse(s.threads[threadID()].Model, "the engine uses managed memory")
	s.mu.Unlock()
	return uintptr(e.managed(out, size, flags))
}

func (e *engine) cuMemCreate(out *Physical, size uint64, props *properties, flags uint64) uintptr {
	p, err := e.space.createFor(int64(size), *props)
	if err == nil {
		*out = p
	}
	return result(err)
}

func (e *engine) cuMemMap(at Addr, size, offset uint64, p Physical, flags uint64) uintptr {
	return result(e.space.mapFor(at, int64(size), int64(offset), p))
}

func (e *engine) cuMemUnmap(at Addr, size uint64) uintptr {
	return result(e.space.unmapFor(at, int64(size)))
}

func (e *engine) cuMemRelease(p Physical) uintptr { return result(e.space.releaseFor(p)) }

func (e *engine) cuMemSetAccess(at Addr, size uint64, who *access, n uint64) uintptr {
	return result(e.space.accessFor(at, int64(size), unsafe.Slice(who, n)))
}
