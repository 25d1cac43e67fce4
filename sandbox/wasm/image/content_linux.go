package image

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// content is an image's bytes in a sealed memfd.
type content struct {
	file  *os.File
	size  int64
	view  []byte   // all of it, to be read
	pages *pageMap // nil where the kernel tells nothing: then a reset gives all pages back

	faults *faults // nil where there is none
}

const memfdName = "catenary-image" // as /proc/PID/maps shows it

// seals make a memfd's bytes and its length final.
const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL

// fill reads size bytes into a new memfd. Runs of zeroes become holes, which take no memory until they are touched.
func fill(r io.Reader, size int64) (*content, error) {
	fd, err := unix.MemfdCreate(memfdName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(memfdName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	c := &content{file: os.NewFile(uintptr(fd), memfdName), size: size}
	if err := c.copyFrom(r); err != nil {
		return nil, errors.Join(err, c.close())
	}
	if err := c.seal(); err != nil {
		return nil, errors.Join(err, c.close())
	}
	if err := c.look(); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// sealTries is how often a memfd is sealed before that has failed. The kernel itself waits for pages that something of
// its own still holds, but not for long.
const sealTries = 20

// seal makes the memfd final.
func (c *content) seal() error {
	for try := 1; ; try++ {
		_, err := unix.FcntlInt(c.file.Fd(), unix.F_ADD_SEALS, seals)
		if err == nil || try == sealTries || !errors.Is(err, unix.EBUSY) {
			return os.NewSyscallError("seal", err)
		}
	}
}

// look prepares for memories to be reset.
func (c *content) look() error {
	c.pages, _ = openPageMap()
	c.faults = openFaults()
	if c.size == 0 {
		return nil
	}
	// Private, though nobody writes: before Linux 6.7 a sealed memfd could not be mapped as shared.
	p, err := unix.MmapPtr(int(c.file.Fd()), 0, nil, uintptr(c.size), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return os.NewSyscallError("mmap", mapError(err))
	}
	c.view = unsafe.Slice((*byte)(p), c.size)
	return nil
}

func (c *content) copyFrom(r io.Reader) error {
	if err := c.file.Truncate(c.size); err != nil {
		return err
	}
	buf := make([]byte, min(c.size, 1<<20))
	for at := int64(0); at < c.size; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), c.size-at)]
		if _, err := io.ReadFull(r, buf); err != nil {
			return err
		}
		for off := 0; off < len(buf); off += wasmPage {
			part := buf[off:min(off+wasmPage, len(buf))]
			if isZero(part) {
				continue
			}
			if _, err := c.file.WriteAt(part, at+int64(off)); err != nil {
				return err
			}
		}
	}
	return nil
}

// reserve returns a private mapping of the content over the head of a reservation of n bytes.
func (c *content) reserve(n int64) ([]byte, error) {
	all, err := reserve(n)
	if err != nil {
		return nil, err
	}
	// An instance writes here and there: a huge page for each place would be memory for nothing, and long to put back.
	// Kernels that have none refuse.
	_ = unix.Madvise(all, unix.MADV_NOHUGEPAGE)
	if c.size == 0 {
		return all, nil
	}
	_, err = unix.MmapPtr(int(c.file.Fd()), 0, unsafe.Pointer(unsafe.SliceData(all)), uintptr(c.size),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE)
	if err != nil {
		release(all)
		return nil, os.NewSyscallError("mmap", err)
	}
	return all, nil
}

// privateBytes counts the bytes of the pages of a mapping of c that are its own.
func (c *content) privateBytes(mem []byte) int64 { return c.pages.privateBytes(mem) }

// residentBytes returns what the memfd takes: its blocks, not its holes.
func (c *content) residentBytes() int64 {
	var st unix.Stat_t
	if err := unix.Fstat(int(c.file.Fd()), &st); err != nil {
		return c.size
	}
	return st.Blocks * 512
}

func (c *content) close() error {
	if c.view != nil {
		release(c.view)
		c.view = nil
	}
	return errors.Join(c.file.Close(), c.pages.close(), c.faults.close())
}

// reserve returns n bytes of address space that take memory only once they are written.
func reserve(n int64) ([]byte, error) {
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(n), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", mapError(err))
	}
	return unsafe.Slice((*byte)(p), n), nil
}

// mapError adds the remedy to the usual reason why nothing can be mapped.
func mapError(err error) error {
	if errors.Is(err, unix.ENOMEM) {
		return fmt.Errorf("%w: out of address space or of mappings: run fewer instances or raise vm.max_map_count", err)
	}
	return err
}

// release gives back what reserve returned.
func release(all []byte) {
	if err := unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(all)), uintptr(len(all))); err != nil {
		panic(fmt.Sprintf("image: unmap %d bytes: %v", len(all), err)) // only for a range that was never mapped
	}
}
