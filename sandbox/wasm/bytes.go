package wasm

import (
	"encoding/binary"

	"github.com/catenary-run/catenary/sandbox/wasm/abi"
)

// maxVectors is how many buffers one read or write may name: IOV_MAX.
const maxVectors = 1024

// readStream is fd_read of a descriptor of items. A read never goes beyond the item that it is in, and begins with the
// next one only when that has been read. It moves no bytes only at the end: items without any are passed over.
func (c *call) readStream(st stream, mem guestMemory, s []uint64) {
	list, n, result := uint32(s[1]), uint32(s[2]), uint32(s[3])
	if n > maxVectors {
		s[0] = abi.Inval
		return
	}
	views, le := mem.view(list, 8*n), binary.LittleEndian
	room := int64(0)
	for v := views; len(v) > 0; v = v[8:] {
		room += int64(le.Uint32(v[4:]))
	}
	rest := st.part()
	for room > 0 && len(*rest) == 0 {
		size := c.recv(st, nil) // an item that has bytes stays
		if size > 0 {
			*rest = make([]byte, size)
			size = c.recv(st, *rest)
		}
		switch size {
		case abi.RecvAgain:
			s[0] = abi.Again
			return
		case abi.RecvEnd:
			mem.putU32(result, 0)
			s[0] = abi.Success
			return
		case abi.RecvFailed:
			*rest = nil
			_, errno := st.info(c)
			s[0] = uint64(errno)
			return
		}
	}
	moved := 0
	for ; len(views) > 0 && len(*rest) > 0; views = views[8:] {
		k := copy(mem.view(le.Uint32(views), le.Uint32(views[4:])), *rest)
		*rest = (*rest)[k:]
		moved += k
	}
	mem.putU32(result, uint32(moved))
	s[0] = abi.Success
}

// writeStream is fd_write to a descriptor of items: what one write has is one item.
func (c *call) writeStream(st stream, mem guestMemory, s []uint64) {
	list, n, result := uint32(s[1]), uint32(s[2]), uint32(s[3])
	if n > maxVectors {
		s[0] = abi.Inval
		return
	}
	if c.ended() {
		s[0] = abi.Canceled
		return
	}
	views, le := mem.view(list, 8*n), binary.LittleEndian
	size := int64(0)
	for v := views; len(v) > 0; v = v[8:] {
		size += int64(le.Uint32(v[4:]))
	}
	if errno := st.room(c, size); errno != abi.Success { // before anything is copied
		s[0] = uint64(errno)
		return
	}
	item := make([]byte, 0, size)
	for ; len(views) > 0; views = views[8:] {
		item = append(item, mem.view(le.Uint32(views), le.Uint32(views[4:]))...)
	}
	if errno := st.send(c, item); errno != abi.Success {
		s[0] = uint64(errno)
		return
	}
	mem.putU32(result, uint32(size))
	s[0] = abi.Success
}
