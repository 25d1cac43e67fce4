package image

import (
	"encoding/binary"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// privateBytes counts the bytes of mem's pages that are its own.
func privateBytes(mem []byte) int64 {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return int64(len(mem))
	}
	defer f.Close()
	if n, ok := scanPages(f, mem); ok {
		return n
	}
	if n, ok := readPages(f, mem); ok {
		return n
	}
	return int64(len(mem))
}

// pageScan is struct pm_scan_arg of linux/fs.h. Its vec is a real pointer, so that it follows a stack that moves.
type pageScan struct {
	size, flags, start, end, walkEnd uint64
	vec                              *pageRegion
	vecLen, maxPages                 uint64
	inverted, mask, anyOf, returned  uint64
}

// pageRegion is struct page_region of linux/fs.h.
type pageRegion struct{ start, end, _ uint64 }

const (
	pagemapScan   = 0xc0606610 // PAGEMAP_SCAN
	pageIsFile    = 1 << 2
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
	pageIsZero    = 1 << 5
)

// scanPages asks the kernel for the pages that are not the memfd's and are present or swapped out. A page that is only
// swapped or migrating is not "present" and still private: both have to be asked for. The zero page, which stands where
// nothing was written yet, belongs to nobody.
func scanPages(pagemap *os.File, mem []byte) (int64, bool) {
	var regions [128]pageRegion
	start := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem))))
	arg := pageScan{
		start: start, end: start + uint64(len(mem)),
		vec: &regions[0], vecLen: uint64(len(regions)),
		inverted: pageIsFile | pageIsZero, mask: pageIsFile | pageIsZero, anyOf: pageIsPresent | pageIsSwapped,
		returned: pageIsPresent,
	}
	arg.size = uint64(unsafe.Sizeof(arg))
	total := uint64(0)
	for arg.start < arg.end {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, pagemap.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg)))
		if errno != 0 || arg.walkEnd <= arg.start && n == 0 {
			return 0, false
		}
		for _, r := range regions[:n] {
			total += r.end - r.start
		}
		arg.start = arg.walkEnd
	}
	return int64(total), true
}

// readPages reads the table of pages, which every kernel has: eight bytes a page.
func readPages(pagemap *os.File, mem []byte) (int64, bool) {
	const (
		present = 1 << 63
		swapped = 1 << 62
		shared  = 1 << 61 // a page of a file, so of the image
	)
	page := os.Getpagesize()
	at := int64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) / int64(page) * 8
	left := (len(mem) + page - 1) / page * 8
	buf := make([]byte, min(left, 64<<10))
	total := int64(0)
	for left > 0 {
		buf = buf[:min(left, len(buf))]
		if _, err := pagemap.ReadAt(buf, at); err != nil {
			return 0, false
		}
		for i := 0; i < len(buf); i += 8 {
			if e := binary.NativeEndian.Uint64(buf[i:]); e&(present|swapped) != 0 && e&shared == 0 {
				total += int64(page)
			}
		}
		at += int64(len(buf))
		left -= len(buf)
	}
	return total, true
}
