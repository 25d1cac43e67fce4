package image

import (
	"encoding/binary"
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pageMap is this process's table of pages. It tells which pages of a private mapping are the mapping's own: those
// that were written, in memory or swapped out.
type pageMap struct {
	file *os.File
	runs func(f *os.File, mem []byte, do func(pageRun)) error // scanPages or readPages
}

// pageRun is a run of pages in a memory that are its own.
type pageRun struct {
	at, n int
	// zero is true for the kernel's page of zeroes, which stands where something was read before anything was written.
	// Only a scan can tell.
	zero bool
}

var errPageMap = errors.New("the kernel's table of pages is of no use")

// openPageMap opens the table, if it is of use here.
func openPageMap() (*pageMap, error) {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil, err
	}
	return tryPageMap(f)
}

// tryPageMap finds out which way to read the table works: a kernel before 6.7 can't scan, and in a container /proc may
// tell nothing. It closes f if none does.
func tryPageMap(f *os.File) (*pageMap, error) {
	page := os.Getpagesize()
	mem, err := reserve(int64(4 * page))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	defer release(mem)
	mem[page] = 1
	want := pageRun{at: page, n: page}
	for _, runs := range []func(*os.File, []byte, func(pageRun)) error{scanPages, readPages} {
		n, right := 0, true
		err := runs(f, mem, func(r pageRun) { n, right = n+1, right && r == want })
		if err == nil && n == 1 && right {
			return &pageMap{f, runs}, nil
		}
	}
	return nil, errors.Join(errPageMap, f.Close())
}

// own calls do for each run of pages of mem that are its own, in ascending order. Do may give pages back meanwhile.
func (p *pageMap) own(mem []byte, do func(pageRun)) error { return p.runs(p.file, mem, do) }

func (p *pageMap) close() error {
	if p == nil {
		return nil
	}
	return p.file.Close()
}

// privateBytes counts the bytes of mem's pages that are its own, for a memory without an image.
func privateBytes(mem []byte) int64 {
	p, err := openPageMap()
	if err != nil {
		return int64(len(mem))
	}
	defer p.close()
	return p.privateBytes(mem)
}

func (p *pageMap) privateBytes(mem []byte) int64 {
	if p == nil {
		return int64(len(mem))
	}
	total := int64(0)
	if err := p.own(mem, func(r pageRun) {
		if !r.zero {
			total += int64(r.n)
		}
	}); err != nil {
		return int64(len(mem))
	}
	return total
}

// pageScan is struct pm_scan_arg of linux/fs.h. Its vec is a real pointer, so that it follows a stack that moves.
type pageScan struct {
	size, flags, start, end, walkEnd uint64
	vec                              *pageRegion
	vecLen, maxPages                 uint64
	inverted, mask, anyOf, returned  uint64
}

// pageRegion is struct page_region of linux/fs.h.
type pageRegion struct{ start, end, categories uint64 }

const (
	pagemapScan   = 0xc0606610 // PAGEMAP_SCAN
	pageIsFile    = 1 << 2
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
	pageIsZero    = 1 << 5
)

// scanPages asks the kernel for the pages that are not the memfd's and are present or swapped out. A page that is only
// swapped or migrating is not "present" and still the mapping's own: if it were left out, what one call wrote there
// would be there for the next.
func scanPages(pagemap *os.File, mem []byte, do func(pageRun)) error {
	var regions [32]pageRegion // small, so that it needs no larger stack; a Go guest's call leaves a dozen
	base := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem))))
	arg := pageScan{
		start: base, end: base + uint64(len(mem)),
		vec: &regions[0], vecLen: uint64(len(regions)),
		inverted: pageIsFile, mask: pageIsFile, anyOf: pageIsPresent | pageIsSwapped,
		returned: pageIsZero,
	}
	arg.size = uint64(unsafe.Sizeof(arg))
	for arg.start < arg.end {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, pagemap.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg)))
		if errno != 0 {
			return os.NewSyscallError("scan pages", errno)
		}
		if arg.walkEnd <= arg.start {
			return errPageMap // it gets nowhere
		}
		for _, r := range regions[:n] {
			do(pageRun{int(r.start - base), int(r.end - r.start), r.categories&pageIsZero != 0})
		}
		arg.start = arg.walkEnd
	}
	return nil
}

// readPages reads the table of pages, which every kernel has: eight bytes a page.
func readPages(pagemap *os.File, mem []byte, do func(pageRun)) error {
	const (
		present = 1 << 63
		swapped = 1 << 62
		shared  = 1 << 61 // a page of a file, so of the image
	)
	page := os.Getpagesize()
	table := int64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) / int64(page) * 8
	left := (len(mem) + page - 1) / page * 8
	buf := make([]byte, min(left, 64<<10))
	var run pageRun
	at := 0
	for left > 0 {
		buf = buf[:min(left, len(buf))]
		if _, err := pagemap.ReadAt(buf, table); err != nil {
			return err
		}
		for i := 0; i < len(buf); i, at = i+8, at+page {
			if e := binary.NativeEndian.Uint64(buf[i:]); e&(present|swapped) == 0 || e&shared != 0 {
				continue
			}
			if run.n > 0 && run.at+run.n < at {
				do(run)
				run.n = 0
			}
			if run.n == 0 {
				run.at = at
			}
			run.n += page
		}
		table += int64(len(buf))
		left -= len(buf)
	}
	if run.n > 0 {
		do(run)
	}
	return nil
}
