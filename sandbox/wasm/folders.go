package wasm

import (
	"encoding/binary"

	"github.com/catenary-run/catenary/sandbox/wasm/abi"
	"github.com/catenary-run/catenary/sandbox/wasm/scratch"
)

// filetypeOf returns the type of a node as WASI names it.
func filetypeOf(n *scratch.Node) byte {
	if n.IsFolder() {
		return typeDirectory
	}
	return typeFile
}

// putFilestat writes a filestat. Times are left out: a folder that lives for one call has none that mean something.
func putFilestat(stat []byte, n *scratch.Node) {
	clear(stat)
	le := binary.LittleEndian
	le.PutUint64(stat[8:], n.ID())
	stat[16] = filetypeOf(n)
	le.PutUint64(stat[24:], 1) // links
	le.PutUint64(stat[32:], uint64(n.Size()))
}

const filestatBytes = 64

func fdFilestatGet(c *call, mem guestMemory, s []uint64) {
	fd, stat := int32(s[0]), mem.view(uint32(s[1]), filestatBytes)
	switch d := c.fds[fd].(type) {
	case *file:
		putFilestat(stat, d.node)
	default:
		if !c.knows(fd) {
			s[0] = abi.BadF
			return
		}
		clear(stat)
		stat[16] = typeCharDevice
		if d != nil {
			stat[16] = typeStream
		}
	}
	s[0] = abi.Success
}

func fdFilestatSetSize(c *call, _ guestMemory, s []uint64) {
	f, errno := c.writable(int32(s[0]))
	if errno != abi.Success {
		s[0] = errno
		return
	}
	s[0] = errnoOf(f.node.Resize(int64(s[1])))
}

// direntBytes is the head of an entry; the name follows.
const direntBytes = 24

// fdReaddir writes entries from the cookie on until the buffer is full; the last one may be cut, and the guest asks
// again. The cookie is the position in the sorted names.
func fdReaddir(c *call, mem guestMemory, s []uint64) {
	folder, errno := c.openFolder(int32(s[0]))
	if errno != abi.Success {
		s[0] = errno
		return
	}
	buf, cookie := mem.view(uint32(s[1]), uint32(s[2])), s[3]
	used, names := 0, folder.Names()
	for i := min(cookie, uint64(len(names))); i < uint64(len(names)) && used < len(buf); i++ {
		node, err := folder.Find(names[i])
		if err != nil {
			s[0] = errnoOf(err)
			return
		}
		var head [direntBytes]byte
		le := binary.LittleEndian
		le.PutUint64(head[0:], i+1)
		le.PutUint64(head[8:], node.ID())
		le.PutUint32(head[16:], uint32(len(names[i])))
		head[20] = filetypeOf(node)
		used += copy(buf[used:], head[:])
		used += copy(buf[used:], names[i])
	}
	mem.putU32(uint32(s[4]), uint32(used))
	s[0] = abi.Success
}

// pathAt returns the folder and the path that a path function was given.
func pathAt(c *call, mem guestMemory, fd, ptr, n uint64) (*scratch.Node, string, uint64) {
	folder, errno := c.openFolder(int32(fd))
	if errno != abi.Success {
		return nil, "", errno
	}
	if uint32(n) > 64<<10 {
		return nil, "", errnoNameTooLong
	}
	return folder, string(mem.view(uint32(ptr), uint32(n))), abi.Success
}

func pathOpen(c *call, mem guestMemory, s []uint64) {
	folder, path, errno := pathAt(c, mem, s[0], s[2], s[3])
	if errno != abi.Success {
		s[0] = errno
		return
	}
	oflags, rights, fdflags, result := s[4], s[5], s[7], uint32(s[8])
	node, err := folder.Find(path)
	switch {
	case err == nil && oflags&oflagCreate != 0 && oflags&oflagExclusive != 0:
		s[0] = errnoExist
		return
	case err == nil:
	case oflags&oflagCreate != 0 && errnoOf(err) == abi.NoEnt && oflags&oflagDirectory == 0:
		node, err = folder.Create(path, false)
	}
	switch {
	case err != nil:
		s[0] = errnoOf(err)
		return
	case oflags&oflagDirectory != 0 && !node.IsFolder():
		s[0] = errnoNotDir
		return
	case node.IsFolder() && (rights&rightWrite != 0 || oflags&oflagTruncate != 0) && oflags&oflagDirectory == 0:
		s[0] = errnoIsDir
		return
	case oflags&oflagTruncate != 0:
		if err := node.Resize(0); err != nil {
			s[0] = errnoOf(err)
			return
		}
	}
	f := openFile(node)
	f.append = fdflags&fdflagAppend != 0
	f.read, f.write = rights&rightRead != 0, rights&rightWrite != 0
	fd := c.add(f)
	if fd < 0 {
		f.close(c)
		s[0] = uint64(-fd)
		return
	}
	mem.putU32(result, uint32(fd))
	s[0] = abi.Success
}

func pathFilestatGet(c *call, mem guestMemory, s []uint64) {
	folder, path, errno := pathAt(c, mem, s[0], s[2], s[3])
	if errno != abi.Success {
		s[0] = errno
		return
	}
	node, err := folder.Find(path)
	if err == nil {
		putFilestat(mem.view(uint32(s[4]), filestatBytes), node)
	}
	s[0] = errnoOf(err)
}

func pathCreateDirectory(c *call, mem guestMemory, s []uint64) {
	folder, path, errno := pathAt(c, mem, s[0], s[1], s[2])
	if errno == abi.Success {
		_, err := folder.Create(path, true)
		errno = errnoOf(err)
	}
	s[0] = errno
}

func pathRemoveDirectory(c *call, mem guestMemory, s []uint64) { remove(c, mem, s, true) }
func pathUnlinkFile(c *call, mem guestMemory, s []uint64)      { remove(c, mem, s, false) }

func remove(c *call, mem guestMemory, s []uint64, isFolder bool) {
	folder, path, errno := pathAt(c, mem, s[0], s[1], s[2])
	if errno == abi.Success {
		errno = errnoOf(folder.Remove(path, isFolder))
	}
	s[0] = errno
}

func pathRename(c *call, mem guestMemory, s []uint64) {
	from, oldPath, errno := pathAt(c, mem, s[0], s[1], s[2])
	if errno != abi.Success {
		s[0] = errno
		return
	}
	to, newPath, errno := pathAt(c, mem, s[3], s[4], s[5])
	if errno != abi.Success {
		s[0] = errno
		return
	}
	s[0] = errnoOf(from.Rename(oldPath, to, newPath))
}
