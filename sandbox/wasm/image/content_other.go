//go:build !linux

package image

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// content is an image's bytes, which every memory gets a copy of.
type content struct{ bytes []byte }

func fill(r io.Reader, size int64) (*content, error) {
	c := &content{make([]byte, size)}
	_, err := io.ReadFull(r, c.bytes)
	return c, err
}

func (c *content) reserve(n int64) ([]byte, error) {
	all, err := reserve(n)
	copy(all, c.bytes)
	return all, err
}

// restore copies all of c over mem.
func (c *content) restore(mem []byte, k *keeper) error {
	clear(mem[copy(mem, c.bytes):])
	k.kept = len(k.left)
	return nil
}

func (c *content) privateBytes(mem []byte) int64 { return int64(len(mem)) }

func (c *content) residentBytes() int64 { return int64(len(c.bytes)) }

func (c *content) close() error { return nil }

func reserve(n int64) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	return b, os.NewSyscallError("mmap", err)
}

func release(all []byte) {
	if err := unix.Munmap(all); err != nil {
		panic("image: unmap: " + err.Error()) // only for a range that was never mapped
	}
}

func privateBytes(mem []byte) int64 { return int64(len(mem)) }
