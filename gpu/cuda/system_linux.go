package cuda

import (
	"os"

	"golang.org/x/sys/unix"
)

// hugePage is the size of the pages that are asked for, in bytes.
const hugePage = 2 << 20

// threadID names the calling thread.
func threadID() int { return unix.Gettid() }

// newMemory returns a file without a name, mapped, of huge pages or of plain ones that the system may join.
func newMemory(name string, size int64, huge bool) (*os.File, []byte, error) {
	flags := unix.MFD_CLOEXEC
	if huge {
		flags |= unix.MFD_HUGETLB | unix.MFD_HUGE_2MB
	}
	fd, err := unix.MemfdCreate(name, flags)
	if err != nil {
		return nil, nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), name)
	size = (size + hugePage - 1) / hugePage * hugePage
	if err := unix.Ftruncate(fd, size); err != nil {
		file.Close()
		return nil, nil, os.NewSyscallError("ftruncate", err)
	}
	bytes, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		file.Close()
		return nil, nil, os.NewSyscallError("mmap", err)
	}
	if !huge {
		_ = unix.Madvise(bytes, unix.MADV_HUGEPAGE) // a wish: where it is not granted all works the same
	}
	return file, bytes, nil
}
