package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/cuda"
)

// byteOrder is that of every device there is.
var byteOrder = binary.LittleEndian

// partBytes is how long the parts of a recipe are: about a tensor.
const partBytes = 64 << 20

// hostSpare is what is left to the machine when a master is made, in bytes.
const hostSpare = 512 << 20

// model is memory that is parked and woken as an engine's weights are.
type model struct {
	lab    *lab
	name   string
	size   int64
	seed   uint64
	master *cuda.Master
	at     cuda.Addr
}

// load returns a model that is awake. The caller closes it. The error wraps [functions.ErrMemoryLimit] if the host or the
// device has no room for it.
func (l *lab) load(name string, size int64) (*model, error) {
	if err := hostRoom(size); err != nil {
		return nil, err
	}
	m := &model{lab: l, name: name, size: size, seed: uint64(size)}
	var err error
	if m.master, err = cuda.NewMaster(name, size); err != nil {
		return nil, err
	}
	l.huge = m.master.Huge()
	writePattern(m.bytes(), m.seed)
	if err := m.master.Pin(l.device); err != nil {
		return nil, errors.Join(err, m.master.Close())
	}
	if err := m.allocate(cuda.Weights, size, &m.at); err != nil {
		return nil, errors.Join(fmt.Errorf("no room for a model of %s: %w", sizeName(size), err), m.master.Close())
	}
	var parts []cuda.Part
	for from := int64(0); from < size; from += partBytes {
		parts = append(parts, cuda.Part{At: m.at + cuda.Addr(from), Bytes: m.bytes()[from:min(size, from+partBytes)]})
	}
	err = errors.Join(l.space.SetRecipe(name, parts), m.use(m.copy), m.verify("loaded"))
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// hostRoom returns an error wrapping [functions.ErrMemoryLimit] unless the host has size bytes to spare.
func hostRoom(size int64) error {
	if free, known := hostFree(); known && free < size+hostSpare {
		return fmt.Errorf("%w on the host: %d MB are free, and %d are needed", functions.ErrMemoryLimit, free/1e6, (size+hostSpare)/1e6)
	}
	return nil
}

func (m *model) close() error {
	return errors.Join(m.lab.space.Free(m.at), m.lab.space.Forget(m.name), m.master.Close())
}

func (m *model) bytes() []byte { return m.master.Bytes()[:m.size] }

// use does something with the model's memory, and waits for the stream.
func (m *model) use(f func() error) error {
	leave, err := m.lab.space.Enter(cuda.Tag{Model: m.name, Kind: cuda.Scratch})
	if err != nil {
		return err
	}
	defer leave()
	return errors.Join(f(), m.lab.stream.Synchronize())
}

func (m *model) allocate(kind cuda.Kind, size int64, at *cuda.Addr) error {
	leave, err := m.lab.space.Enter(cuda.Tag{Model: m.name, Kind: kind})
	if err != nil {
		return err
	}
	defer leave()
	*at, err = m.lab.space.Allocate(size)
	return err
}

// copy hands in one bare copy of all bytes.
func (m *model) copy() error { return m.lab.stream.Copy(m.at, m.bytes()) }

// spoil overwrites the weights, so that nothing which was there before passes for what should come.
func (m *model) spoil() error {
	return m.use(func() error { return m.lab.stream.Fill(m.at, poison, m.size) })
}

func (m *model) verify(what string) error {
	return m.use(func() error { return m.lab.verify(what, m.at, m.size, m.seed) })
}

func (m *model) wake() error {
	_, err := m.lab.space.Wake(m.name, cuda.All)
	return err
}

// park returns only when the device says that the memory is free.
func (m *model) park() error {
	before, _, err := m.lab.device.Memory()
	if err != nil {
		return err
	}
	freed, err := m.lab.space.Park(m.name, cuda.All)
	if err != nil {
		return err
	}
	after, _, err := m.lab.device.Memory()
	if err == nil && after-before < freed/2 { // other processes may take some meanwhile
		err = fmt.Errorf("%d bytes were parked, and %d are free", freed, after-before)
	}
	return err
}

// word is what belongs at place i of a buffer. The kernels have the same function.
func word(i, seed uint64) uint64 {
	x := (i + seed) * 0x9E3779B97F4A7C15
	return x ^ x>>32
}

// writePattern does on the host what the kernel pattern does, on all processors.
func writePattern(p []byte, seed uint64) {
	words := len(p) / wordBytes
	share := (words + runtime.NumCPU() - 1) / runtime.NumCPU()
	var all sync.WaitGroup
	for from := 0; from < words; from += share {
		all.Go(func() {
			for i := from; i < min(words, from+share); i++ {
				byteOrder.PutUint64(p[i*wordBytes:], word(uint64(i), seed))
			}
		})
	}
	all.Wait()
}
