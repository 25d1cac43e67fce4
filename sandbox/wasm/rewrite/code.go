package rewrite

// fuelCheck returns the code that stands at every loop header, and at every function entry that is not one:
//
//	fuel--
//	if fuel <= 0 { yield(); fuel = slice }
//
// It takes nothing from the stack and leaves nothing, and it needs no local variable. It tests for <= 0 and not for
// zero: a yield that panics leaves the counter where it is, and it must not count down from there through 2^32 checks.
func (w *rewriter) fuelCheck() []byte {
	var b []byte
	global := func(op byte) { b = appendU32(append(b, op), w.fuelGlobal()) }
	global(opGlobalGet)
	b = append(b, opI32Const, 1, opI32Sub)
	global(opGlobalSet)
	global(opGlobalGet)
	b = append(b, opI32Const, 0, opI32LeS, opIf, typeEmpty)
	b = appendU32(append(b, opCall), w.funcImports)
	b = appendS32(append(b, opI32Const), w.slice)
	global(opGlobalSet)
	return append(b, opEnd)
}

// code returns the body of the code section.
func (w *rewriter) code(r *reader) []byte {
	sec := w.sections[secCode]
	if !sec.here {
		if w.funcs > 0 {
			r.fail(len(w.in), "%d functions and no code", w.funcs)
		}
		return nil
	}
	outer := r.at(sec)
	at := r.i
	n := r.count()
	if n != w.funcs {
		r.fail(at, "%d functions and %d bodies", w.funcs, n)
	}
	check := w.fuelCheck()
	size := sec.end - sec.start
	out := appendU32(make([]byte, 0, size+size/3+len(check)), n)
	var body []byte // of one function; used again for the next
	for i := uint32(0); i < n && r.err == nil; i++ {
		inner := r.enter(r.u32())
		start := r.i
		for k := r.count(); k > 0 && r.err == nil; k-- {
			r.u32()
			r.valueType()
		}
		body = append(body[:0], r.b[start:r.i]...)
		if !loopsAtOnce(*r) {
			body = append(body, check...)
		}
		body = w.instructions(r, i, check, body)
		r.leave(inner, "a function")
		out = appendU32(out, uint32(len(body)))
		out = append(out, body...)
	}
	r.leave(outer, sectionNames[secCode])
	return out
}

// loopsAtOnce reports whether the function's code, which r stands at, comes to a loop before anything that may branch or
// call. Then the check at the loop's header is one for the entry, too: every function of Go's begins with such a loop.
func loopsAtOnce(r reader) bool {
	for r.i < len(r.b) && r.err == nil {
		op := r.b[r.i]
		r.i++
		switch {
		case op == opLoop:
			return true
		case op == opBlock:
			r.blockType()
		case op >= 0x20 && op <= 0x22, op == opGlobalGet, op == opGlobalSet, op == opI32Const: // 0x20 to 0x22: local variables
			r.number(size32)
		case op == opI64Const:
			r.number(size64)
		case op >= 0x28 && op <= 0x3e: // loads and stores
			r.memArg()
		case op >= 0x45 && op <= 0xc4: // arithmetic
		default:
			return false
		}
	}
	return false
}

// instructions copies the instructions up to the limit of r to out, with functions renumbered and a check at every
// loop header. What lies between two changes is copied as a whole. Fn is the function's number among those defined.
func (w *rewriter) instructions(r *reader, fn uint32, check, out []byte) []byte {
	from := r.i
	op := byte(0)
	at := r.i
	for r.i < len(r.b) {
		at = r.i
		op = r.b[r.i]
		r.i++
		switch op {
		case opLoop:
			r.blockType()
			out = append(out, r.b[from:r.i]...)
			out = append(out, check...)
			from = r.i
		case opCall, opReturnCall, opRefFunc:
			out = append(out, r.b[from:r.i]...)
			out = w.copyFunc(r, out)
			from = r.i
		case opTableSet:
			r.number(size32)
			w.changesTable("table.set", fn)
		case opMisc:
			w.misc(r, fn)
		default:
			w.plain(r, op)
		}
	}
	if r.err == nil && op != opEnd {
		r.fail(at, "a function that doesn't end with end")
	}
	return append(out, r.b[from:r.i]...)
}

// plain skips what follows an instruction that stays as it is.
func (w *rewriter) plain(r *reader, op byte) {
	switch op {
	case opBlock, opIf:
		r.blockType()
	case opGlobalGet, opGlobalSet:
		r.index("global", w.fuelGlobal()) // the guest must not reach its fuel
	case opBr, opBrIf, 0x20, 0x21, 0x22, 0x25, // local variables and table.get
		opThrow, opBrOnNull, opBrOnNonNull, 0x3f, 0x40, // memory.size and memory.grow
		opI32Const:
		r.number(size32)
	case opRefNull:
		r.heapType()
	case opCallRef, opReturnCallRf:
		r.typeIndex()
	case opBrTable:
		for n := r.count() + 1; n > 0 && r.err == nil; n-- {
			r.number(size32)
		}
	case opCallIndirect, opReturnCallIn:
		r.typeIndex()
		r.number(size32)
	case opSelectTyped:
		r.valueTypes()
	case opTryTable:
		r.blockType()
		for n := r.count(); n > 0 && r.err == nil; n-- {
			if kind := r.byte(); kind < 2 { // catch and catch_ref name a tag
				r.number(size32)
			}
			r.number(size32)
		}
	case opI64Const:
		r.number(size64)
	case opF32Const:
		r.skip(4)
	case opF64Const:
		r.skip(8)
	case opVector:
		w.vector(r)
	default:
		switch {
		case op >= 0x28 && op <= 0x3e: // loads and stores
			r.memArg()
		case op >= 0x45 && op <= 0xc4, // arithmetic
			op <= 0x01, op == 0x05, op == 0x0a, op == opEnd, op == 0x0f, op == 0x1a, op == 0x1b, op == 0xd1, op == 0xd4:
		case op == opTry, op == opCatch, op == opRethrow, op == opDelegate, op == opCatchAll:
			r.fail(r.i-1, "exceptions in the form that was given up (instruction %#x): build with exnref", op)
		case op == opAtomic:
			r.fail(r.i-1, "an atomic instruction: threads don't run here")
		default:
			r.fail(r.i-1, "unknown instruction %#x", op)
		}
	}
}

// misc skips what follows opMisc and notes what makes a capture incomplete.
func (w *rewriter) misc(r *reader, fn uint32) {
	at := r.i
	switch op := r.u32(); op {
	case 0, 1, 2, 3, 4, 5, 6, 7: // conversions
	case miscMemoryInit:
		w.reads = append(w.reads, r.u32())
		r.number(size32)
	case miscDataDrop:
		w.drops = append(w.drops, r.u32())
	case miscMemoryCopy:
		r.number(size32)
		r.number(size32)
	case miscMemoryFill, miscElemDrop, miscTableSize:
		r.number(size32)
	case miscTableInit, miscTableCopy:
		r.number(size32)
		r.number(size32)
		w.changesTable([]string{"table.init", "table.copy"}[(op-miscTableInit)/2], fn)
	case miscTableGrow, miscTableFill:
		r.number(size32)
		w.changesTable([]string{"table.grow", "table.fill"}[(op-miscTableGrow)/2], fn)
	default:
		r.fail(at, "unknown instruction 0xfc %d", op)
	}
}

// vector skips what follows opVector.
func (w *rewriter) vector(r *reader) {
	at := r.i
	switch op := r.u32(); {
	case op <= 11, op == 92, op == 93:
		r.memArg()
	case op == opVectorConst, op == 13: // v128.const and i8x16.shuffle
		r.skip(16)
	case op >= 21 && op <= 34: // lanes in and out
		r.skip(1)
	case op >= 84 && op <= 91: // lanes loaded and stored
		r.memArg()
		r.skip(1)
	case op > 0x113: // the last of relaxed SIMD
		r.fail(at, "unknown vector instruction %d", op)
	}
}

func (w *rewriter) changesTable(by string, fn uint32) {
	if w.mod.Uncapturable == "" {
		w.because("the code changes a table (%s in function %d)", by, w.funcImports+fn)
	}
}

// copyFunc copies the number of a function.
func (w *rewriter) copyFunc(r *reader, out []byte) []byte {
	at := r.i
	f := r.u32()
	if uint64(f) >= uint64(w.funcImports)+uint64(w.funcs) {
		r.fail(at, "function %d of %d", f, w.funcImports+w.funcs)
		return out
	}
	if f >= w.funcImports {
		f++
	}
	return appendU32(out, f)
}
