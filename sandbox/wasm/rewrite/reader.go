package rewrite

import (
	"fmt"

	"github.com/catenary-run/catenary/functions"
)

// reader reads a module from front to back and never beyond its limit. Its first error sticks: everything after it
// reads zeroes, so that a caller may check once, after a loop that ends when err is set.
type reader struct {
	b     []byte // the module up to the limit
	i     int    // the next byte; it is an offset in the module
	types uint32 // how many types the module has by itself
	err   error
}

// fail notes what is wrong at byte at and moves to the limit.
func (r *reader) fail(at int, format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w module: %s at byte %d", functions.ErrInvalid, fmt.Sprintf(format, args...), at)
	}
	r.i = len(r.b)
}

// enter narrows the limit to the next n bytes, and returns what leave needs.
func (r *reader) enter(n uint32) (outer []byte) {
	outer = r.b
	if uint64(n) > uint64(len(r.b)-r.i) {
		r.fail(r.i, "%d bytes announced where only %d are left", n, len(r.b)-r.i)
		return outer
	}
	r.b = r.b[:r.i+int(n)]
	return outer
}

// leave checks that all up to the limit has been read and sets the outer limit again.
func (r *reader) leave(outer []byte, what string) {
	if r.err == nil && r.i != len(r.b) {
		r.fail(r.i, "%d bytes too many in %s", len(r.b)-r.i, what)
	}
	r.b = outer
	if r.err != nil {
		r.i = len(r.b)
	}
}

func (r *reader) byte() byte {
	if r.i >= len(r.b) {
		r.fail(r.i, "truncated")
		return 0
	}
	c := r.b[r.i]
	r.i++
	return c
}

func (r *reader) skip(n int) {
	if n > len(r.b)-r.i {
		r.fail(r.i, "truncated")
		return
	}
	r.i += n
}

// u32 reads an unsigned number.
func (r *reader) u32() uint32 {
	if r.i < len(r.b) && r.b[r.i] < 0x80 {
		c := r.b[r.i]
		r.i++
		return uint32(c)
	}
	var v uint32
	at := r.i
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		v |= uint32(c&0x7f) << shift
		if c >= 0x80 {
			continue
		}
		if shift == 28 && c > 0x0f {
			break
		}
		return v
	}
	r.fail(at, "a number of more than 32 bits")
	return 0
}

// s32 reads a signed number.
func (r *reader) s32() int32 {
	at := r.i
	v := r.s33()
	if v != int64(int32(v)) {
		r.fail(at, "a number of more than 32 bits")
	}
	return int32(v)
}

// s33 reads a signed number of 33 bits, in which all 32-bit numbers and the negative ones fit.
func (r *reader) s33() int64 {
	var v int64
	at := r.i
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		v |= int64(c&0x7f) << shift
		if c >= 0x80 {
			continue
		}
		if c&0x40 != 0 {
			v |= -1 << (shift + 7)
		}
		if v < -1<<32 || v >= 1<<32 {
			break
		}
		return v
	}
	r.fail(at, "a number of more than 33 bits")
	return 0
}

// number skips a number of at most size bytes.
func (r *reader) number(size int) {
	if r.i < len(r.b) && r.b[r.i] < 0x80 {
		r.i++
		return
	}
	r.longNumber(size)
}

func (r *reader) longNumber(size int) {
	at := r.i
	for range size {
		if r.byte() < 0x80 {
			return
		}
	}
	r.fail(at, "a number of more than %d bytes", size)
}

// Sizes of encoded numbers.
const (
	size32 = 5  // 32 and 33 bits
	size64 = 10 // 64 bits
)

// count reads the length of a list whose entries have at least a byte each.
func (r *reader) count() uint32 {
	at := r.i
	n := r.u32()
	if uint64(n) > uint64(len(r.b)-r.i) {
		r.fail(at, "a list of %d entries in %d bytes", n, len(r.b)-r.i)
		return 0
	}
	return n
}

// bytes reads a list of bytes. The result is part of the module.
func (r *reader) bytes() []byte {
	n := int(r.count())
	b := r.b[r.i : r.i+n : r.i+n]
	r.i += n
	return b
}

func (r *reader) name() string { return string(r.bytes()) }

// valueType skips a value type and returns its first byte.
func (r *reader) valueType() byte {
	at := r.i
	switch t := r.byte(); t {
	case TypeI32, TypeI64, TypeF32, TypeF64, typeV128, typeFuncref, typeExternref, typeExnref:
		return t
	case typeRefNull, typeRef:
		r.heapType()
		return t
	default:
		r.fail(at, "unknown value type %#x", t)
		return 0
	}
}

func (r *reader) valueTypes() {
	for n := r.count(); n > 0 && r.err == nil; n-- {
		r.valueType()
	}
}

// index reads a number below n, that of one of n things. The bounds matter: a number beyond them would be wrong in the
// module as it was, and may be that of something added to it.
func (r *reader) index(what string, n uint32) uint32 {
	at := r.i
	i := r.u32()
	if i >= n {
		r.fail(at, "%s %d of %d", what, i, n)
	}
	return i
}

func (r *reader) typeIndex() { r.index("type", r.types) }

// heapType skips what a reference refers to: a number of a type, or a kind, which is negative.
func (r *reader) heapType() {
	at := r.i
	if t := r.s33(); t >= int64(r.types) {
		r.fail(at, "type %d of %d", t, r.types)
	}
}

// blockType skips the type of a block: nothing, a value type or the number of a function type.
func (r *reader) blockType() {
	if r.i < len(r.b) && (r.b[r.i] == typeRefNull || r.b[r.i] == typeRef) {
		r.i++
	}
	r.heapType()
}

// memArg skips the alignment and the offset of a load or a store.
func (r *reader) memArg() {
	if align := r.u32(); align&0x40 != 0 {
		r.number(size32) // a memory other than the first
	}
	r.number(size64)
}

// limits reads the limits of a table or a memory. Max is cap if none is declared.
func (r *reader) limits(what string, cap uint32) (low, high uint32) {
	at := r.i
	flags := r.byte()
	switch {
	case flags == 2 || flags == 3:
		r.fail(at, "a shared %s: threads don't run here", what)
	case flags >= 4 && flags <= 7:
		r.fail(at, "a %s with 64-bit addresses: build for wasm32", what)
	case flags > 7:
		r.fail(at, "unknown limits %#x of a %s", flags, what)
	}
	low, high = r.u32(), cap
	if flags&1 != 0 {
		high = r.u32()
	}
	if low > high {
		r.fail(at, "a %s of at least %d and at most %d", what, low, high)
	}
	return low, high
}

// appendU32 appends an unsigned number.
func appendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// appendS32 appends a signed number.
func appendS32(b []byte, v int32) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && c&0x40 == 0) || (v == -1 && c&0x40 != 0) {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func appendName(b []byte, s string) []byte { return append(appendU32(b, uint32(len(s))), s...) }

func appendSection(b []byte, id byte, body []byte) []byte {
	b = appendU32(append(b, id), uint32(len(body)))
	return append(b, body...)
}
