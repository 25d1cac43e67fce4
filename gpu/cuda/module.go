package cuda

import (
	"runtime"
	"unsafe"
)

// Module is device code that has been loaded.
type Module struct {
	device *Device
	handle uintptr
}

// LoadModule loads PTX text, which the driver compiles, or a binary for this very kind of device. The caller closes the
// module.
func (d *Device) LoadModule(image []byte) (*Module, error) {
	m := &Module{device: d}
	ended := append(append([]byte{}, image...), 0) // PTX ends with a zero byte
	err := d.do("cuModuleLoadData", func() Code { return d.driver.fn.moduleLoad(&m.handle, &ended[0]) })
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Close unloads the module. None of its kernels may be under way.
func (m *Module) Close() error {
	return m.device.do("cuModuleUnload", func() Code { return m.device.driver.fn.moduleUnload(m.handle) })
}

// Kernel is a function of a module, and lives as long as that.
type Kernel struct {
	device *Device
	handle uintptr
}

// Kernel returns the function of that name.
func (m *Module) Kernel(name string) (*Kernel, error) {
	k := &Kernel{device: m.device}
	err := m.device.do("cuModuleGetFunction", func() Code { return m.device.driver.fn.moduleFunction(&k.handle, m.handle, name) })
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Launch hands the kernel in, with so many blocks of so many threads. Each argument is a number of at most 64 bits, whose
// low bytes the kernel takes.
func (k *Kernel) Launch(s *Stream, blocks, threads uint32, args ...uint64) error {
	var pins runtime.Pinner
	defer pins.Unpin()
	pointers := make([]unsafe.Pointer, len(args)+1) // one more, so that there is a first
	for i := range args {
		pins.Pin(&args[i])
		pointers[i] = unsafe.Pointer(&args[i])
	}
	return k.device.do("cuLaunchKernel", func() Code {
		return k.device.driver.fn.launch(k.handle, blocks, 1, 1, threads, 1, 1, 0, s.handle, unsafe.Pointer(&pointers[0]), nil)
	})
}
