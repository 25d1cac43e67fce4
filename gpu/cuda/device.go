package cuda

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Attributes of a device, by the driver's numbers.
const (
	attributeMultiprocessors = 16
	attributeMajor           = 75
	attributeMinor           = 76
	attributeVirtualMemory   = 102
)

// Facts are what a device says about itself.
type Facts struct {
	Index           int
	Name            string
	UUID            string // GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx
	Bus             string // its place on the PCI bus
	MemBytes        int64
	Major, Minor    int // compute capability
	Multiprocessors int
	VirtualMemory   bool // without it nothing can be parked
}

// Devices returns the facts of all devices, in the driver's order.
func (d *Driver) Devices() ([]Facts, error) {
	var n int32
	if err := d.check("cuDeviceGetCount", d.fn.deviceCount(&n)); err != nil {
		return nil, err
	}
	all := make([]Facts, 0, n)
	for i := range int(n) {
		f, _, err := d.facts(i)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// facts also returns the driver's handle of the device.
func (d *Driver) facts(index int) (Facts, int32, error) {
	var handle int32
	if err := d.check("cuDeviceGet", d.fn.deviceGet(&handle, int32(index))); err != nil {
		return Facts{}, 0, err
	}
	f := Facts{Index: index}
	var name, bus [128]byte
	var id [16]byte
	var bytes uint64
	err := errors.Join(
		d.check("cuDeviceGetName", d.fn.deviceName(&name[0], int32(len(name)), handle)),
		d.check("cuDeviceGetUuid", d.fn.deviceUUID(&id, handle)),
		d.check("cuDeviceGetPCIBusId", d.fn.deviceBus(&bus[0], int32(len(bus)), handle)),
		d.check("cuDeviceTotalMem", d.fn.deviceMemory(&bytes, handle)),
	)
	f.Name, f.Bus, f.MemBytes = unix.ByteSliceToString(name[:]), unix.ByteSliceToString(bus[:]), int64(bytes)
	f.UUID = fmt.Sprintf("GPU-%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	attribute := func(number int32) int {
		var v int32
		err = errors.Join(err, d.check("cuDeviceGetAttribute", d.fn.deviceAttribute(&v, number, handle)))
		return int(v)
	}
	f.Major, f.Minor = attribute(attributeMajor), attribute(attributeMinor)
	f.Multiprocessors = attribute(attributeMultiprocessors)
	f.VirtualMemory = attribute(attributeVirtualMemory) != 0
	return f, handle, err
}

// Device is a device whose primary context is held: the one that engines use, too. It may be used from many goroutines.
type Device struct {
	Facts

	driver  *Driver
	handle  int32
	context uintptr
}

// Device returns the device of that index, which the caller closes. It returns an error wrapping
// [functions.ErrNoDevice] if there is none.
func (d *Driver) Device(index int) (*Device, error) {
	f, handle, err := d.facts(index)
	if err != nil {
		return nil, err
	}
	dev := &Device{Facts: f, driver: d, handle: handle}
	if err := d.check("cuDevicePrimaryCtxRetain", d.fn.contextRetain(&dev.context, handle)); err != nil {
		return nil, err
	}
	return dev, nil
}

// Close gives the context back. Whoever else holds it keeps it.
func (d *Device) Close() error {
	return d.driver.check("cuDevicePrimaryCtxRelease", d.driver.fn.contextRelease(d.handle))
}

// do makes a call that needs a context, on a thread that has it. The thread is afterwards as it was before.
func (d *Device) do(call string, f func() Code) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := d.driver.check("cuCtxPushCurrent", d.driver.fn.contextPush(d.context)); err != nil {
		return err
	}
	err := d.driver.check(call, f())
	var was uintptr
	return errors.Join(err, d.driver.check("cuCtxPopCurrent", d.driver.fn.contextPop(&was)))
}

// Memory returns how much of the device's memory is free, and how much there is, in bytes.
func (d *Device) Memory() (free, total int64, err error) {
	var f, t uint64
	err = d.do("cuMemGetInfo", func() Code { return d.driver.fn.memoryInfo(&f, &t) })
	return int64(f), int64(t), err
}

// Synchronize waits for all work of this process on the device, that of other goroutines and of engines too.
func (d *Device) Synchronize() error {
	return d.do("cuCtxSynchronize", d.driver.fn.contextSync)
}

// Allocate returns memory that can't be parked, as cudaMalloc gives it. It returns an error wrapping [ErrNoRoom] if the device
// has not so much.
func (d *Device) Allocate(size int64) (Addr, error) {
	var at Addr
	err := d.do("cuMemAlloc", func() Code { return d.driver.fn.allocate(&at, uint64(size)) })
	return at, err
}

// Free gives memory of Allocate back, once all work of this process on the device is done.
func (d *Device) Free(at Addr) error {
	return d.do("cuMemFree", func() Code { return d.driver.fn.free(at) })
}
