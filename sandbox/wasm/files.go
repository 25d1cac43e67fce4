package wasm

import (
	"encoding/binary"
	"errors"
	"io/fs"

	"github.com/catenary-run/catenary/sandbox/wasm/abi"
	"github.com/catenary-run/catenary/sandbox/wasm/scratch"
)

// Standard descriptors, and the folders that a command finds open. Both are the scratch folder: under its own name for
// those who ask for it, and as the root, so that relative paths lead there too.
const (
	fdStdin       = 0
	fdStdout      = 1
	fdStderr      = 2
	fdScratch     = 3
	fdRoot        = 4
	scratchFolder = "/scratch"
)

var preopens = map[int32]string{fdScratch: scratchFolder, fdRoot: "/"}

// Filetypes, flags and rights of WASI.
const (
	typeCharDevice = 2
	typeDirectory  = 3
	typeFile       = 4
	typeStream     = 6

	fdflagAppend   = 1
	fdflagNonblock = 4

	oflagCreate    = 1
	oflagDirectory = 2
	oflagExclusive = 4
	oflagTruncate  = 8

	rightRead   = 1 << 1
	rightWrite  = 1 << 6
	rightsAll   = 1<<30 - 1
	rightsStdio = rightRead | rightWrite
)

// file is an open file or folder of the scratch folder.
type file struct {
	node        *scratch.Node
	at          int64
	append      bool
	read, write bool
}

func openFile(n *scratch.Node) *file {
	n.Hold()
	return &file{node: n}
}

func (f *file) close(*call) { f.node.Release() }

// knows reports whether a guest holds that number.
func (c *call) knows(fd int32) bool {
	_, ok := c.fds[fd]
	return ok || fd >= fdStdin && fd <= fdStderr
}

// mountScratch gives a command its folder.
func (c *call) mountScratch(root *scratch.Node) {
	for fd := range preopens {
		c.fds[fd] = openFile(root)
	}
}

// errnoOf returns the errno for an error of package scratch.
func errnoOf(err error) uint64 {
	for _, e := range []struct {
		err   error
		errno uint64
	}{
		{fs.ErrNotExist, abi.NoEnt},
		{fs.ErrExist, errnoExist},
		{fs.ErrInvalid, abi.Inval},
		{scratch.ErrIsFolder, errnoIsDir},
		{scratch.ErrNotFolder, errnoNotDir},
		{scratch.ErrNotEmpty, errnoNotEmpty},
		{scratch.ErrOutside, errnoNotCapable},
		{scratch.ErrFull, errnoNoSpace},
		{scratch.ErrName, errnoNameTooLong},
	} {
		if errors.Is(err, e.err) {
			return e.errno
		}
	}
	if err != nil {
		return abi.IO
	}
	return abi.Success
}

func fdClose(c *call, _ guestMemory, s []uint64) {
	fd := int32(s[0])
	if fd >= fdStdin && fd <= fdStderr {
		s[0] = abi.Success // programs close them at their end
		return
	}
	s[0] = uint64(c.closeFD(fd))
}

// fdNothing answers what has no meaning for a folder in memory.
func fdNothing(c *call, _ guestMemory, s []uint64) {
	if c.knows(int32(s[0])) {
		s[0] = abi.Success
	} else {
		s[0] = abi.BadF
	}
}

func fdFdstatGet(c *call, mem guestMemory, s []uint64) {
	fd := int32(s[0])
	stat := mem.view(uint32(s[1]), 24)
	var filetype byte
	var flags uint16
	rights := uint64(rightsStdio)
	switch d := c.fds[fd].(type) {
	case nil:
		if !c.knows(fd) {
			s[0] = abi.BadF
			return
		}
		filetype = typeCharDevice
	case *file:
		filetype, rights = filetypeOf(d.node), rightsAll
		if d.append {
			flags = fdflagAppend
		}
	case stream:
		filetype = typeStream
		if !d.blocks() {
			flags = fdflagNonblock
		}
	}
	clear(stat)
	stat[0] = filetype
	binary.LittleEndian.PutUint16(stat[2:], flags)
	binary.LittleEndian.PutUint64(stat[8:], rights)
	binary.LittleEndian.PutUint64(stat[16:], rights)
	s[0] = abi.Success
}

func fdFdstatSetFlags(c *call, _ guestMemory, s []uint64) {
	fd, flags := int32(s[0]), uint16(s[1])
	f, isFile := c.fds[fd].(*file)
	st, isStream := c.fds[fd].(stream)
	switch {
	case !c.knows(fd):
		s[0] = abi.BadF
	case isStream:
		st.setBlocks(c, flags&fdflagNonblock == 0)
		s[0] = abi.Success
	case flags&fdflagNonblock != 0:
		s[0] = errnoNotSup
	case isFile:
		f.append = flags&fdflagAppend != 0
		s[0] = abi.Success
	default:
		s[0] = abi.Success
	}
}

func fdPrestatGet(c *call, mem guestMemory, s []uint64) {
	name, ok := c.preopen(int32(s[0]))
	if !ok {
		s[0] = abi.BadF
		return
	}
	mem.putU32(uint32(s[1]), 0) // a folder
	mem.putU32(uint32(s[1])+4, uint32(len(name)))
	s[0] = abi.Success
}

func fdPrestatDirName(c *call, mem guestMemory, s []uint64) {
	name, ok := c.preopen(int32(s[0]))
	switch {
	case !ok:
		s[0] = abi.BadF
	case int(uint32(s[2])) < len(name):
		s[0] = errnoNameTooLong
	default:
		copy(mem.view(uint32(s[1]), uint32(len(name))), name)
		s[0] = abi.Success
	}
}

func (c *call) preopen(fd int32) (string, bool) {
	if _, open := c.fds[fd]; !open {
		return "", false
	}
	name, ok := preopens[fd]
	return name, ok
}

// maxVectors is how many buffers one read or write may name: IOV_MAX.
const maxVectors = 1024

// vectorBytes returns how large the guest's buffers are in all.
func vectorBytes(mem guestMemory, list, n uint32) (size int64) {
	for views := mem.view(list, 8*n); len(views) > 0; views = views[8:] {
		size += int64(binary.LittleEndian.Uint32(views[4:]))
	}
	return size
}

// vectors calls do for each of the guest's buffers until it moves less than the whole, and returns the sum. Its error
// counts only if nothing was moved before.
func vectors(mem guestMemory, list, n uint32, do func([]byte) (int, error)) (uint32, error) {
	if n > maxVectors {
		return 0, fs.ErrInvalid
	}
	le, views, moved := binary.LittleEndian, mem.view(list, 8*n), uint32(0)
	for ; len(views) > 0; views = views[8:] {
		buf := mem.view(le.Uint32(views), le.Uint32(views[4:]))
		k, err := do(buf)
		moved += uint32(k)
		if err != nil && moved == 0 {
			return 0, err
		}
		if k < len(buf) {
			break
		}
	}
	return moved, nil
}

// finish answers a read or a write.
func finish(mem guestMemory, s []uint64, result uint32, moved uint32, err error) {
	if err == nil {
		mem.putU32(result, moved)
	}
	s[0] = errnoOf(err)
}

func fdRead(c *call, mem guestMemory, s []uint64) {
	fd, result := int32(s[0]), uint32(s[3])
	if fd == fdStdin {
		finish(mem, s, result, 0, nil) // its end
		return
	}
	if st, ok := c.fds[fd].(stream); ok {
		c.readStream(st, mem, s)
		return
	}
	f, errno := c.readable(fd)
	if errno != abi.Success {
		s[0] = errno
		return
	}
	moved, err := vectors(mem, uint32(s[1]), uint32(s[2]), func(p []byte) (int, error) {
		k := f.node.ReadAt(p, f.at)
		f.at += int64(k)
		return k, nil
	})
	finish(mem, s, result, moved, err)
}

func fdPread(c *call, mem guestMemory, s []uint64) {
	at, result := int64(s[3]), uint32(s[4])
	f, errno := c.readable(int32(s[0]))
	if errno != abi.Success {
		s[0] = errno
		return
	}
	moved, err := vectors(mem, uint32(s[1]), uint32(s[2]), func(p []byte) (int, error) {
		k := f.node.ReadAt(p, at)
		at += int64(k)
		return k, nil
	})
	finish(mem, s, result, moved, err)
}

func fdWrite(c *call, mem guestMemory, s []uint64) {
	fd, result := int32(s[0]), uint32(s[3])
	if st, ok := c.fds[fd].(stream); ok {
		c.writeStream(st, mem, s)
		return
	}
	var write func(p []byte) (int, error)
	switch {
	case fd == fdStdout || fd == fdStderr:
		write = func(p []byte) (int, error) { return c.print(fd, p), nil }
	default:
		f, errno := c.writable(fd)
		if errno != abi.Success {
			s[0] = errno
			return
		}
		write = func(p []byte) (int, error) {
			if f.append {
				f.at = f.node.Size()
			}
			k, err := f.node.WriteAt(p, f.at)
			f.at += int64(k)
			return k, err
		}
	}
	moved, err := vectors(mem, uint32(s[1]), uint32(s[2]), write)
	finish(mem, s, result, moved, err)
}

func fdPwrite(c *call, mem guestMemory, s []uint64) {
	at, result := int64(s[3]), uint32(s[4])
	f, errno := c.writable(int32(s[0]))
	if errno != abi.Success {
		s[0] = errno
		return
	}
	moved, err := vectors(mem, uint32(s[1]), uint32(s[2]), func(p []byte) (int, error) {
		k, err := f.node.WriteAt(p, at)
		at += int64(k)
		return k, err
	})
	finish(mem, s, result, moved, err)
}

// print takes what the guest writes to a standard stream.
func (c *call) print(fd int32, p []byte) int {
	switch {
	case fd == fdStderr:
		c.stderr.Write(p)
	case c.capture != nil:
		c.spend(int64(len(p)))
		*c.capture = append(*c.capture, p...)
	default:
		c.stdout.Write(p)
	}
	return len(p)
}

// openFile returns the open file of that number, and an errno if it is none.
func (c *call) openFile(fd int32) (*file, uint64) {
	f, ok := c.fds[fd].(*file)
	switch {
	case !ok:
		return nil, abi.BadF
	case f.node.IsFolder():
		return nil, errnoIsDir
	}
	return f, abi.Success
}

// readable returns an open file that may be read.
func (c *call) readable(fd int32) (*file, uint64) {
	f, errno := c.openFile(fd)
	if errno == abi.Success && !f.read {
		errno = abi.BadF
	}
	return f, errno
}

// writable returns an open file that may be written.
func (c *call) writable(fd int32) (*file, uint64) {
	f, errno := c.openFile(fd)
	if errno == abi.Success && !f.write {
		errno = abi.BadF
	}
	return f, errno
}

// openFolder returns the folder of an open descriptor, and an errno if it is none.
func (c *call) openFolder(fd int32) (*scratch.Node, uint64) {
	f, ok := c.fds[fd].(*file)
	switch {
	case !ok:
		return nil, abi.BadF
	case !f.node.IsFolder():
		return nil, errnoNotDir
	}
	return f.node, abi.Success
}

func fdSeek(c *call, mem guestMemory, s []uint64) {
	fd, offset, whence := int32(s[0]), int64(s[1]), byte(s[2])
	f, errno := c.openFile(fd)
	if errno != abi.Success {
		if errno == abi.BadF && c.knows(fd) {
			errno = errnoSpipe
		}
		s[0] = errno
		return
	}
	var base int64
	switch whence {
	case 0:
	case 1:
		base = f.at
	case 2:
		base = f.node.Size()
	default:
		s[0] = abi.Inval
		return
	}
	if at := satAdd(max(offset, -1<<62), base); at >= 0 {
		f.at = at
		mem.putU64(uint32(s[3]), uint64(at))
		s[0] = abi.Success
		return
	}
	s[0] = abi.Inval
}

func fdTell(c *call, mem guestMemory, s []uint64) {
	f, errno := c.openFile(int32(s[0]))
	if errno == abi.Success {
		mem.putU64(uint32(s[1]), uint64(f.at))
	}
	s[0] = errno
}
