package cuda

import (
	"fmt"
	"path/filepath"
	"unsafe"

	"github.com/ebitengine/purego"
	"golang.org/x/sys/unix"

	"github.com/catenary-run/catenary/functions"
)

const (
	library    = "libcuda.so.1"
	minVersion = 12000 // of CUDA: the oldest whose calls all have the form that is bound here
)

// Driver is the loaded libcuda. It may be used from many goroutines.
type Driver struct {
	lib     uintptr
	version int
	fn      calls
}

// calls are the driver's functions. Addresses and sizes in device memory are numbers, not pointers: Go must not follow
// them.
type calls struct {
	initialize    func(flags uint32) Code
	driverVersion func(version *int32) Code
	errorName     func(code Code, name **byte) Code

	deviceCount     func(n *int32) Code
	deviceGet       func(device *int32, index int32) Code
	deviceName      func(name *byte, n, device int32) Code
	deviceUUID      func(id *[16]byte, device int32) Code
	deviceMemory    func(bytes *uint64, device int32) Code
	deviceBus       func(id *byte, n, device int32) Code
	deviceAttribute func(value *int32, attribute, device int32) Code

	contextRetain  func(context *uintptr, device int32) Code
	contextRelease func(device int32) Code
	contextPush    func(context uintptr) Code
	contextPop     func(context *uintptr) Code
	contextSync    func() Code
	memoryInfo     func(free, total *uint64) Code

	granularity func(bytes *uint64, p *properties, option int32) Code
	reserve     func(at *Addr, size, align uint64, hint Addr, flags uint64) Code
	addressFree func(at Addr, size uint64) Code
	create      func(p *Physical, size uint64, props *properties, flags uint64) Code
	release     func(p Physical) Code
	mapAt       func(at Addr, size, offset uint64, p Physical, flags uint64) Code
	setAccess   func(at Addr, size uint64, access *access, n uint64) Code
	unmap       func(at Addr, size uint64) Code

	allocate func(at *Addr, size uint64) Code
	free     func(at Addr) Code

	hostRegister   func(p unsafe.Pointer, n uint64, flags uint32) Code
	hostUnregister func(p unsafe.Pointer) Code
	copyToDevice   func(dst Addr, src unsafe.Pointer, n uint64, stream uintptr) Code
	copyFromDevice func(dst unsafe.Pointer, src Addr, n uint64, stream uintptr) Code
	fill           func(dst Addr, value uint8, n uint64, stream uintptr) Code

	streamCreate  func(stream *uintptr, flags uint32) Code
	streamDestroy func(stream uintptr) Code
	streamSync    func(stream uintptr) Code
	streamWait    func(stream, event uintptr, flags uint32) Code
	eventCreate   func(event *uintptr, flags uint32) Code
	eventDestroy  func(event uintptr) Code
	eventRecord   func(event, stream uintptr) Code
	eventQuery    func(event uintptr) Code
	eventSync     func(event uintptr) Code
	eventElapsed  func(ms *float32, from, to uintptr) Code

	captureBegin     func(stream uintptr, mode int32) Code
	captureEnd       func(stream uintptr, graph *uintptr) Code
	graphInstantiate func(runnable *uintptr, graph uintptr, flags uint64) Code
	graphLaunch      func(runnable, stream uintptr) Code
	graphFree        func(runnable uintptr) Code
	graphDestroy     func(graph uintptr) Code

	moduleLoad     func(module *uintptr, image *byte) Code
	moduleUnload   func(module uintptr) Code
	moduleFunction func(function *uintptr, module uintptr, name string) Code
	launch         func(function uintptr, gx, gy, gz, bx, by, bz, shared uint32, stream uintptr, args, extra unsafe.Pointer) Code

	// These came with driver 570 and are nil before it.
	processLock       func(pid int32, args *lockArgs) Code
	processCheckpoint func(pid int32, args *noArgs) Code
	processRestore    func(pid int32, args *noArgs) Code
	processUnlock     func(pid int32, args *noArgs) Code
	processState      func(pid int32, state *int32) Code
}

// symbol is a function of the library and where it goes.
type symbol struct {
	name string
	fn   any
}

func (c *calls) required() []symbol {
	return []symbol{
		{"cuInit", &c.initialize}, {"cuDriverGetVersion", &c.driverVersion}, {"cuGetErrorName", &c.errorName},
		{"cuDeviceGetCount", &c.deviceCount}, {"cuDeviceGet", &c.deviceGet}, {"cuDeviceGetName", &c.deviceName},
		{"cuDeviceGetUuid_v2", &c.deviceUUID}, {"cuDeviceTotalMem_v2", &c.deviceMemory}, {"cuDeviceGetPCIBusId", &c.deviceBus},
		{"cuDeviceGetAttribute", &c.deviceAttribute},
		{"cuDevicePrimaryCtxRetain", &c.contextRetain}, {"cuDevicePrimaryCtxRelease_v2", &c.contextRelease},
		{"cuCtxPushCurrent_v2", &c.contextPush}, {"cuCtxPopCurrent_v2", &c.contextPop}, {"cuCtxSynchronize", &c.contextSync},
		{"cuMemGetInfo_v2", &c.memoryInfo},
		{"cuMemGetAllocationGranularity", &c.granularity}, {"cuMemAddressReserve", &c.reserve}, {"cuMemAddressFree", &c.addressFree},
		{"cuMemCreate", &c.create}, {"cuMemRelease", &c.release}, {"cuMemMap", &c.mapAt}, {"cuMemSetAccess", &c.setAccess},
		{"cuMemUnmap", &c.unmap},
		{"cuMemAlloc_v2", &c.allocate}, {"cuMemFree_v2", &c.free},
		{"cuMemHostRegister_v2", &c.hostRegister}, {"cuMemHostUnregister", &c.hostUnregister},
		{"cuMemcpyHtoDAsync_v2", &c.copyToDevice}, {"cuMemcpyDtoHAsync_v2", &c.copyFromDevice}, {"cuMemsetD8Async", &c.fill},
		{"cuStreamCreate", &c.streamCreate}, {"cuStreamDestroy_v2", &c.streamDestroy}, {"cuStreamSynchronize", &c.streamSync},
		{"cuStreamWaitEvent", &c.streamWait},
		{"cuEventCreate", &c.eventCreate}, {"cuEventDestroy_v2", &c.eventDestroy}, {"cuEventRecord", &c.eventRecord},
		{"cuEventQuery", &c.eventQuery}, {"cuEventSynchronize", &c.eventSync}, {"cuEventElapsedTime", &c.eventElapsed},
		{"cuStreamBeginCapture_v2", &c.captureBegin}, {"cuStreamEndCapture", &c.captureEnd},
		{"cuGraphInstantiateWithFlags", &c.graphInstantiate}, {"cuGraphLaunch", &c.graphLaunch},
		{"cuGraphExecDestroy", &c.graphFree}, {"cuGraphDestroy", &c.graphDestroy},
		{"cuModuleLoadData", &c.moduleLoad}, {"cuModuleUnload", &c.moduleUnload}, {"cuModuleGetFunction", &c.moduleFunction},
		{"cuLaunchKernel", &c.launch},
	}
}

func (c *calls) optional() []symbol {
	return []symbol{
		{"cuCheckpointProcessLock", &c.processLock}, {"cuCheckpointProcessCheckpoint", &c.processCheckpoint},
		{"cuCheckpointProcessRestore", &c.processRestore}, {"cuCheckpointProcessUnlock", &c.processUnlock},
		{"cuCheckpointProcessGetState", &c.processState},
	}
}

// Open loads the driver from the folder dir, or from where the system keeps it if dir is empty. It returns an error
// wrapping [functions.ErrNoDevice] if there is none, if it is too old, or if it does not start.
func Open(dir string) (*Driver, error) {
	path := library
	if dir != "" {
		path = filepath.Join(dir, library)
	}
	lib, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("%w: no CUDA driver: %v", functions.ErrNoDevice, err)
	}
	d := &Driver{lib: lib}
	for _, s := range d.fn.required() {
		if !bind(lib, s) {
			return nil, fmt.Errorf("%w: the CUDA driver is too old: it lacks %s; install driver 525 or newer", functions.ErrNoDevice, s.name)
		}
	}
	for _, s := range d.fn.optional() {
		bind(lib, s)
	}
	var version int32
	if err := d.check("cuDriverGetVersion", d.fn.driverVersion(&version)); err != nil {
		return nil, fmt.Errorf("%w: %w", functions.ErrNoDevice, err)
	}
	if d.version = int(version); d.version < minVersion {
		return nil, fmt.Errorf("%w: the CUDA driver is too old: it speaks CUDA %d.%d, and 12.0 is needed; install driver 525 or newer",
			functions.ErrNoDevice, version/1000, version%1000/10)
	}
	if err := d.check("cuInit", d.fn.initialize(0)); err != nil {
		return nil, fmt.Errorf("%w: %w", functions.ErrNoDevice, err)
	}
	return d, nil
}

// bind fills a function's variable, and reports whether the library has it.
func bind(lib uintptr, s symbol) bool {
	address, err := purego.Dlsym(lib, s.name)
	if err != nil {
		return false
	}
	purego.RegisterFunc(s.fn, address)
	return true
}

// Version is the CUDA version that the driver speaks: 13000 is 13.0.
func (d *Driver) Version() int { return d.version }

// check makes an error of a code.
func (d *Driver) check(call string, code Code) error {
	if code == codeOK {
		return nil
	}
	e := &Error{Call: call, Code: code, Name: "unknown error"}
	var name *byte
	if d.fn.errorName(code, &name) == codeOK && name != nil {
		e.Name = unix.BytePtrToString(name)
	}
	return e
}
