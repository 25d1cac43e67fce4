package cuda

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// portable memory is pinned for every context of the process.
const portable = 1

// Master is host memory in a file without a name, which outlives the process that made it if another one holds the file.
// The bytes of a model are read into it once; devices are filled from it as often as they wake.
type Master struct {
	file   *os.File
	bytes  []byte // all of the mapping
	huge   bool
	pinned *Device
}

// NewMaster returns size bytes of zeros, or a little more. They are huge pages if the system has enough set aside.
func NewMaster(name string, size int64) (*Master, error) {
	file, bytes, err := newMemory(name, size, true)
	if err == nil {
		return &Master{file: file, bytes: bytes, huge: true}, nil
	}
	file, bytes, err = newMemory(name, size, false)
	if err != nil {
		return nil, err
	}
	return &Master{file: file, bytes: bytes}, nil
}

// OpenMaster returns the master that another process made, from its file. It owns the file from then on.
func OpenMaster(file *os.File) (*Master, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	bytes, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &Master{file: file, bytes: bytes}, nil
}

// Bytes are the memory itself, until Close.
func (m *Master) Bytes() []byte { return m.bytes }

// File is what another process opens the master with. It stays the master's.
func (m *Master) File() *os.File { return m.file }

// Huge reports whether this process made it of huge pages.
func (m *Master) Huge() bool { return m.huge }

// Pin lets devices read the memory directly. It takes about a third of a second for each gigabyte, so it is done once
// for each process. It does nothing to a master that is pinned.
func (m *Master) Pin(d *Device) error {
	if m.pinned != nil {
		return nil
	}
	err := d.do("cuMemHostRegister", func() Code {
		return d.driver.fn.hostRegister(unsafe.Pointer(&m.bytes[0]), uint64(len(m.bytes)), portable)
	})
	if err == nil {
		m.pinned = d
	}
	return err
}

// Close unpins and unmaps the memory and closes its file. No copy from it may be under way.
func (m *Master) Close() error {
	var unpin error
	if d := m.pinned; d != nil {
		unpin = d.do("cuMemHostUnregister", func() Code { return d.driver.fn.hostUnregister(unsafe.Pointer(&m.bytes[0])) })
	}
	return errors.Join(unpin, unix.Munmap(m.bytes), m.file.Close())
}
