package wasm

import "github.com/catenary-run/catenary/sandbox/wasm/abi"

// readStream is fd_read of a descriptor of items. A read never goes beyond the item that it is in, and begins with the
// next one only when that has been read. It moves no bytes only at the end: items without any are passed over.
func (c *call) readStream(st stream, mem guestMemory, s []uint64) {
	list, n, result := uint32(s[1]), uint32(s[2]), uint32(s[3])
	if n > maxVectors {
		s[0] = abi.Inval
		return
	}
	room, rest := vectorBytes(mem, list, n), st.part()
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
	moved, err := vectors(mem, list, n, func(p []byte) (int, error) {
		k := copy(p, *rest)
		*rest = (*rest)[k:]
		return k, nil
	})
	finish(mem, s, result, moved, err)
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
	size := vectorBytes(mem, list, n)
	if errno := st.room(c, size); errno != abi.Success { // before anything is copied
		s[0] = uint64(errno)
		return
	}
	item := make([]byte, 0, size)
	moved, err := vectors(mem, list, n, func(p []byte) (int, error) {
		item = append(item, p...)
		return len(p), nil
	})
	if errno := st.send(c, item); errno != abi.Success {
		s[0] = uint64(errno)
		return
	}
	finish(mem, s, result, moved, err)
}
