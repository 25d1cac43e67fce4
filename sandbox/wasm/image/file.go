package image

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/catenary-run/catenary/functions"
)

// An image is one file, so that one rename puts all of it in place:
//
//	magic       8 bytes
//	metaBytes   uint32, little-endian: the length of meta
//	metaSum     uint32: CRC-32C of meta
//	memSum      uint32: CRC-32C of memory
//	meta        Meta as JSON
//	memory      Meta.FileBytes bytes
const (
	fileName    = "image"
	magic       = "catimg1\n"
	headerBytes = len(magic) + 12
	maxMeta     = 16 << 20 // bytes; a module with 100,000 globals has a tenth of it
)

// castagnoli is the polynomial that processors have an instruction for: checking costs less than reading.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// Write captures mem, a guest's whole memory, in dir, which must be there. It sets MemBytes and FileBytes of meta. The
// image appears at once and complete, or not at all; one that is there already is replaced. The file is on disk when
// Write returns.
func Write(dir string, meta Meta, mem []byte) error {
	meta.MemBytes = int64(len(mem))
	mem = trimZeroPages(mem)
	meta.FileBytes = int64(len(mem))
	if err := meta.check(); err != nil {
		return err
	}
	text, err := json.Marshal(meta)
	if err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	if len(text) > maxMeta {
		return fmt.Errorf("%w image: %d bytes about it, at most %d", functions.ErrInvalid, len(text), maxMeta)
	}
	header := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(text)))
	header = binary.LittleEndian.AppendUint32(header, crc32.Checksum(text, castagnoli()))
	header = binary.LittleEndian.AppendUint32(header, crc32.Checksum(mem, castagnoli()))
	if err := replace(dir, header, text, mem); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return nil
}

// replace writes a new file beside the old one and puts it in its place.
func replace(dir string, parts ...[]byte) (err error) {
	f, err := os.CreateTemp(dir, fileName+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := writeAll(f, parts); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, fileName)); err != nil {
		return err
	}
	return syncDir(dir)
}

func writeAll(f *os.File, parts [][]byte) error {
	for _, p := range parts {
		if _, err := f.Write(p); err != nil {
			return err
		}
	}
	if err := f.Chmod(0o400); err != nil {
		return err
	}
	return f.Sync()
}

// syncDir makes a rename in dir outlast a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open reads the image in dir, checks it and holds it. It returns an error wrapping [functions.ErrNotFound] if there is
// none and [functions.ErrInvalid] if it is damaged: in both cases the caller captures anew. The caller closes it.
func Open(dir string) (*Image, error) {
	im, err := open(filepath.Join(dir, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("image: %w: %w", functions.ErrNotFound, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open image in %s: %w", dir, err)
	}
	return im, nil
}

func open(path string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	meta, sum, err := readMeta(f, info.Size())
	if err != nil {
		return nil, err
	}
	check := crc32.New(castagnoli())
	held, err := fill(io.TeeReader(f, check), meta.FileBytes)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, damaged("it became shorter while it was read")
	}
	if err != nil {
		return nil, err
	}
	if check.Sum32() != sum {
		return nil, errors.Join(damaged("its memory doesn't fit its checksum"), held.close())
	}
	return &Image{meta: meta, held: held}, nil
}

// readMeta reads what stands before the memory in a file of size bytes.
func readMeta(f io.Reader, size int64) (meta Meta, memSum uint32, err error) {
	header := make([]byte, headerBytes)
	if _, err := io.ReadFull(f, header); err != nil || string(header[:len(magic)]) != magic {
		return meta, 0, damaged("it doesn't begin like an image")
	}
	numbers := header[len(magic):]
	n := int64(binary.LittleEndian.Uint32(numbers))
	if n > maxMeta || n > size-int64(headerBytes) {
		return meta, 0, damaged("it is shorter than its description")
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(f, text); err != nil {
		return meta, 0, damaged("it is shorter than its description")
	}
	if crc32.Checksum(text, castagnoli()) != binary.LittleEndian.Uint32(numbers[4:]) {
		return meta, 0, damaged("its description doesn't fit its checksum")
	}
	if err := json.Unmarshal(text, &meta); err != nil {
		return meta, 0, damaged("its description is no JSON: " + err.Error())
	}
	if err := meta.check(); err != nil {
		return meta, 0, err
	}
	if have := size - int64(headerBytes) - n; have != meta.FileBytes {
		return meta, 0, damaged(fmt.Sprintf("it has %d bytes of memory and should have %d", have, meta.FileBytes))
	}
	return meta, binary.LittleEndian.Uint32(numbers[8:]), nil
}

func damaged(how string) error { return fmt.Errorf("%w image: %s", functions.ErrInvalid, how) }

// trimZeroPages cuts off the zero pages at the end of mem.
func trimZeroPages(mem []byte) []byte {
	page := os.Getpagesize()
	for len(mem) > 0 {
		last := mem[(len(mem)-1)/page*page:]
		if !isZero(last) {
			break
		}
		mem = mem[:len(mem)-len(last)]
	}
	return mem
}

// isZero reports whether b has zeroes only. Comparing b with itself, one byte on, is the fastest way the library has.
func isZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && string(b[1:]) == string(b[:len(b)-1])
}
