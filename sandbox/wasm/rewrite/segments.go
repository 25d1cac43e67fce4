package rewrite

import "slices"

// expr copies a constant expression with its functions renumbered. If it is made of i32 constants only, known is true
// and v its value.
func (w *rewriter) expr(r *reader, in []byte) (out []byte, v int32, known bool) {
	out = in
	var stack [8]int32 // deeper ones count as not known
	depth, known := 0, true
	from := r.i
	for r.err == nil {
		at := r.i
		switch op := r.byte(); op {
		case opEnd:
			out = append(out, r.b[from:r.i]...)
			return out, stack[0], known && depth == 1
		case opI32Const:
			c := r.s32()
			if depth == len(stack) {
				known = false
			}
			if known {
				stack[depth] = c
				depth++
			}
		case opI32Add, opI32Sub, opI32Mul:
			if depth < 2 {
				known = false
			}
			if !known {
				continue
			}
			a, b := &stack[depth-2], stack[depth-1]
			depth--
			switch op {
			case opI32Add:
				*a += b
			case opI32Sub:
				*a -= b
			default:
				*a *= b
			}
		case opRefFunc:
			out = append(out, r.b[from:r.i]...)
			out = w.copyFunc(r, out)
			from, known = r.i, false
		case opGlobalGet:
			known = false
			r.index("global", w.fuelGlobal())
		default:
			known = false
			constant(r, op, at)
		}
	}
	return out, 0, false
}

// constant skips what follows an instruction of a constant expression that stays as it is.
func constant(r *reader, op byte, at int) {
	switch op {
	case opI64Add, opI64Sub, opI64Mul:
	case opI64Const:
		r.number(size64)
	case opF32Const:
		r.skip(4)
	case opF64Const:
		r.skip(8)
	case opRefNull:
		r.heapType()
	case opVector:
		if r.byte() != opVectorConst {
			r.fail(at, "a vector instruction in a constant expression")
		}
		r.skip(16)
	default:
		r.fail(at, "instruction %#x in a constant expression", op)
	}
}

// Bits of an element segment's flags.
const (
	elemInactive = 1 // passive, or declarative if elemExplicit is set too
	elemExplicit = 2 // an active one names its table
	elemExprs    = 4 // entries are expressions, not numbers of functions
)

// elements returns the body of the element section. Its eight forms are the combinations of three bits.
func (w *rewriter) elements(r *reader) []byte {
	var out []byte
	if sec := w.sections[secElement]; sec.here {
		size := sec.end - sec.start
		out = make([]byte, 0, size+size/8)
	}
	n := w.list(r, secElement, func(uint32) {
		start := r.i
		flags := r.u32()
		if flags > elemInactive|elemExplicit|elemExprs {
			r.fail(start, "unknown flags %#x of an element segment", flags)
		}
		if flags&elemInactive == 0 {
			if flags&elemExplicit != 0 {
				r.u32()
			}
			out = append(out, r.b[start:r.i]...)
			out, _, _ = w.expr(r, out)
			start = r.i
		}
		if flags&(elemInactive|elemExplicit) != 0 {
			if flags&elemExprs != 0 {
				r.valueType()
			} else {
				r.byte() // the kind, always a function
			}
		}
		count := r.count()
		out = append(out, r.b[start:r.i]...)
		for ; count > 0 && r.err == nil; count-- {
			if flags&elemExprs != 0 {
				out, _, _ = w.expr(r, out)
			} else {
				out = w.copyFunc(r, out)
			}
		}
	})
	if n == 0 {
		return nil
	}
	return append(appendU32(make([]byte, 0, len(out)+size32), n), out...)
}

// Flags of a data segment.
const (
	dataActive   = 0
	dataPassive  = 1
	dataExplicit = 2 // active, and it names its memory
)

// emptyData is an active segment without bytes: it keeps the numbers of those behind it.
var emptyData = [...]byte{dataActive, opI32Const, 0, opEnd, 0}

// data reads the data section, after the code. It notes the active segments in Module.Data and returns the body of a
// section in which they are empty; none if nothing in the module needs it.
func (w *rewriter) data(r *reader) []byte {
	sec := w.sections[secData]
	if !sec.here {
		w.checkDataCount(r, 0)
		return nil
	}
	segments := w.length(r, secData)
	out := make([]byte, 0, int(segments)*len(emptyData))
	w.mod.Data = make([]Segment, 0, segments)
	var passive []uint32
	var offsetExpr []byte // not kept
	n := w.list(r, secData, func(i uint32) {
		start := r.i
		flags := r.u32()
		if flags == dataPassive {
			r.bytes()
			passive = append(passive, i)
			out = append(out, r.b[start:r.i]...)
			return
		}
		if flags > dataExplicit {
			r.fail(start, "unknown flags %#x of a data segment", flags)
		}
		if flags == dataExplicit {
			r.index("memory", w.memoryCount)
		}
		var offset int32
		var known bool
		offsetExpr, offset, known = w.expr(r, offsetExpr[:0])
		if !known {
			w.because("data segment %d is placed at an offset that only the start can tell", i)
		}
		b := r.bytes()
		if known && w.sections[secMemory].here && uint64(uint32(offset))+uint64(len(b)) > uint64(w.mod.MemMinPages)*pageBytes {
			r.fail(start, "data segment %d ends beyond the %d pages of memory", i, w.mod.MemMinPages)
		}
		w.mod.Data = append(w.mod.Data, Segment{uint32(offset), b})
		out = append(out, emptyData[:]...)
	})
	w.checkDataCount(r, n)
	w.dropped(passive)
	if passive == nil && w.reads == nil && w.drops == nil {
		return nil
	}
	return append(appendU32(make([]byte, 0, len(out)+size32), n), out...)
}

// dropped finds out whether the code drops a passive segment that it also reads: whether it is gone is state that is
// neither memory nor global. What the code never reads may be dropped unseen, and an active segment counts as dropped
// from the start on.
func (w *rewriter) dropped(passive []uint32) {
	if len(w.drops) == 0 || len(w.reads) == 0 {
		return
	}
	slices.Sort(w.reads)
	for _, d := range w.drops {
		_, isPassive := slices.BinarySearch(passive, d)
		_, isRead := slices.BinarySearch(w.reads, d)
		if isPassive && isRead {
			w.because("the code drops data segment %d, which it also reads", d)
			return
		}
	}
}

func (w *rewriter) checkDataCount(r *reader, n uint32) {
	sec := w.sections[secDataCount]
	if !sec.here {
		return
	}
	outer := r.at(sec)
	if count := r.u32(); count != n {
		r.fail(sec.start, "%d data segments announced and %d there", count, n)
	}
	r.leave(outer, sectionNames[secDataCount])
}
