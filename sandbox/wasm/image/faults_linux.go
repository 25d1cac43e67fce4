package image

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// faults makes the kernel map the pages of a memory one by one. By itself it maps up to 15 neighbours with each page of
// the image that a guest reads, and every reset walks over all that is mapped.
//
// A mapping that is registered with userfaultfd for write protection has no neighbours mapped. Nothing is protected, so
// nothing is ever reported, and nobody has to read the descriptor. Where there is none - an older kernel, a container
// that forbids the call - resets take a few microseconds longer.
type faults struct{ file *os.File }

// From linux/userfaultfd.h.
const (
	uffdUserModeOnly = 1
	uffdAPI          = 0xaa
	uffdioAPI        = 0xc018aa3f // UFFDIO_API
	uffdioRegister   = 0xc020aa00 // UFFDIO_REGISTER
	uffdRegisterWP   = 1 << 1
	uffdWPAsync      = 1 << 15 // any mapping can be registered; Linux 6.7
)

// openFaults returns nil where there is no userfaultfd that is of use.
func openFaults() *faults {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK|uffdUserModeOnly, 0, 0)
	if errno != 0 {
		return nil
	}
	f := &faults{os.NewFile(fd, "userfaultfd")}
	api := struct{ api, features, ioctls uint64 }{uffdAPI, uffdWPAsync, 0}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uffdioAPI, uintptr(unsafe.Pointer(&api))); errno != 0 {
		_ = f.close()
		return nil
	}
	return f
}

// single registers mem, whose pages are mapped one by one from then on. It reports whether that worked; what is mapped
// already stays.
func (f *faults) single(mem []byte) bool {
	if f == nil || len(mem) == 0 {
		return false
	}
	reg := struct{ start, len, mode, ioctls uint64 }{
		uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))), uint64(len(mem)), uffdRegisterWP, 0,
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.file.Fd(), uffdioRegister, uintptr(unsafe.Pointer(&reg)))
	return errno == 0
}

func (f *faults) close() error {
	if f == nil {
		return nil
	}
	return f.file.Close()
}
