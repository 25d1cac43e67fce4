package rewrite

import (
	"fmt"

	"github.com/catenary-run/catenary/sandbox/wasm/abi"
)

// section is where a section's content lies in the module.
type section struct {
	start, end int
	here       bool
}

// at moves r to a section that is here, and returns what leave needs.
func (r *reader) at(s section) (outer []byte) {
	outer = r.b
	if r.err == nil {
		r.b, r.i = r.b[:s.end], s.start
	}
	return outer
}

// split finds the sections and checks their order.
func (w *rewriter) split(r *reader) {
	rank := [secEnd]int{}
	for i, id := range sectionOrder {
		rank[id] = i + 1
	}
	last := 0
	for r.i < len(r.b) {
		at := r.i
		id := r.byte()
		n := r.u32()
		if id >= secEnd {
			r.fail(at, "unknown section %d", id)
			return
		}
		outer := r.enter(n)
		sec := section{r.i, len(r.b), true}
		if id == secCustom {
			if r.name() == "name" && !w.names.here {
				w.names = section{r.i, sec.end, true}
			}
		} else {
			if rank[id] <= last {
				r.fail(at, "%s stands twice or too late", sectionNames[id])
			}
			last = rank[id]
			w.sections[id] = sec
		}
		if r.err == nil {
			r.i = sec.end
		}
		r.leave(outer, sectionNames[id])
	}
}

// length returns the length of a section that is a list.
func (w *rewriter) length(r *reader, id byte) uint32 {
	sec := w.sections[id]
	if !sec.here {
		return 0
	}
	outer := r.at(sec)
	n := r.count()
	if r.err == nil {
		r.i = sec.end
	}
	r.leave(outer, sectionNames[id])
	return n
}

// list reads a section that is a list: entry is called for each. It returns the length.
func (w *rewriter) list(r *reader, id byte, entry func(i uint32)) uint32 {
	sec := w.sections[id]
	if !sec.here {
		return 0
	}
	outer := r.at(sec)
	n := r.count()
	for i := uint32(0); i < n && r.err == nil; i++ {
		entry(i)
	}
	r.leave(outer, sectionNames[id])
	return n
}

// grown returns the body of a list section whose entries stay as they are and that gets n more.
func (w *rewriter) grown(id byte, n uint32, more []byte) []byte {
	sec := w.sections[id]
	if !sec.here {
		return append(appendU32(nil, n), more...)
	}
	r := &reader{b: w.in[:sec.end], i: sec.start}
	count := r.u32()
	out := appendU32(make([]byte, 0, sec.end-sec.start+len(more)+size32), count+n)
	return append(append(out, w.in[r.i:sec.end]...), more...)
}

// types counts the types and returns the body of a type section that has () -> (), of which the yield is.
func (w *rewriter) types(r *reader) []byte {
	r.types = ^uint32(0) // types may refer to later ones; the engine checks that
	found, count := false, uint32(0)
	w.list(r, secType, func(uint32) {
		if at := r.i; r.i < len(r.b) && r.b[r.i] == typeGroup {
			r.i++
			for n := r.count(); n > 0 && r.err == nil; n-- {
				funcType(r)
				count++
			}
		} else {
			funcType(r)
			if !found && r.i-at == 3 { // the form and two empty lists
				w.yieldType, found = count, true
			}
			count++
		}
	})
	r.types = count
	if found {
		return w.grown(secType, 0, nil)
	}
	w.yieldType = count
	return w.grown(secType, 1, []byte{typeFunc, 0, 0})
}

func funcType(r *reader) {
	at := r.i
	if form := r.byte(); form != typeFunc {
		r.fail(at, "a type of form %#x: garbage-collected types don't run here", form)
	}
	r.valueTypes()
	r.valueTypes()
}

// imports reads the imports and returns the body of an import section that has the yield behind them.
func (w *rewriter) imports(r *reader) []byte {
	w.list(r, secImport, func(uint32) {
		at := r.i
		im := Import{Module: r.name(), Name: r.name(), Kind: r.byte()}
		w.mod.Imports = append(w.mod.Imports, im)
		if im.Module == abi.FuelModule && !w.again {
			r.fail(at, "an import of %s, which is the host's own", abi.FuelModule)
		}
		switch im.Kind {
		case KindFunc:
			r.typeIndex()
			w.funcImports++
		case KindTable:
			r.valueType()
			r.limits("table", ^uint32(0))
			w.because("it imports the table %s.%s", im.Module, im.Name)
		case KindMemory:
			r.limits("memory", maxPages)
			w.because("it imports its memory %s.%s", im.Module, im.Name)
			w.memoryCount++
		case KindGlobal:
			r.valueType()
			if r.byte() != 0 {
				w.because("it imports the mutable global %s.%s", im.Module, im.Name)
			}
			w.globalImports++
		case KindTag:
			r.byte()
			r.typeIndex()
		default:
			r.fail(r.i-1, "unknown kind of import %d", im.Kind)
		}
	})
	more := appendName(appendName(nil, abi.FuelModule), abi.FuelYield)
	return w.grown(secImport, 1, appendU32(append(more, KindFunc), w.yieldType))
}

// tables returns the body of the table section: initial values can name functions.
func (w *rewriter) tables(r *reader) []byte {
	var out []byte
	n := w.list(r, secTable, func(uint32) {
		start, valued := r.i, false
		if r.i < len(r.b) && r.b[r.i] == 0x40 { // a table with an initial value
			r.skip(2)
			valued = true
		}
		r.valueType()
		r.limits("table", ^uint32(0))
		out = append(out, r.b[start:r.i]...)
		if valued {
			out, _, _ = w.expr(r, out)
		}
	})
	if n == 0 {
		return nil
	}
	return append(appendU32(make([]byte, 0, len(out)+size32), n), out...)
}

// memories reads the memory section.
func (w *rewriter) memories(r *reader) {
	n := w.list(r, secMemory, func(i uint32) {
		low, high := r.limits("memory", maxPages)
		if high > maxPages {
			r.fail(r.i, "a memory of %d pages: the most is %d", high, maxPages)
		}
		if i == 0 {
			w.mod.MemMinPages, w.mod.MemMaxPages = low, high
		}
	})
	w.memoryCount += n
	switch {
	case n == 0:
		w.because("it has no memory of its own")
	case n > 1:
		w.because("it has more than one memory")
	}
}

// globals returns the body of a global section with the fuel at its end, and notes what has to be exported.
func (w *rewriter) globals(r *reader) []byte {
	var out []byte
	if sec := w.sections[secGlobal]; sec.here {
		out = make([]byte, 0, sec.end-sec.start+2*size32)
	}
	w.list(r, secGlobal, func(i uint32) {
		start := r.i
		t := r.valueType()
		mutable := r.byte()
		out = append(out, r.b[start:r.i]...)
		out, _, _ = w.expr(r, out)
		if mutable == 0 {
			return
		}
		index := w.globalImports + i
		switch t {
		case TypeI32, TypeI64, TypeF32, TypeF64:
			w.exportGlobal(fmt.Sprintf("%sg%d", reserved, index), t, index)
		default:
			w.because("its global %d can change and isn't a number", index)
		}
	})
	out = appendS32(append(out, TypeI32, 1, opI32Const), w.slice)
	out = append(out, opEnd)
	w.exportGlobal(reserved+"fuel", TypeI32, w.fuelGlobal())
	w.mod.Fuel = w.mod.Globals[len(w.mod.Globals)-1]
	return append(appendU32(make([]byte, 0, len(out)+size32), w.globalCount+1), out...)
}

func (w *rewriter) exportGlobal(name string, t byte, index uint32) {
	w.mod.Globals = append(w.mod.Globals, Global{name, t})
	w.export(name, KindGlobal, index)
}

// start reads the start section. The result is the number that the function has in the new module.
func (w *rewriter) start(r *reader) []byte {
	sec := w.sections[secStart]
	if !sec.here {
		return nil
	}
	outer := r.at(sec)
	out := w.copyFunc(r, nil)
	r.leave(outer, sectionNames[secStart])
	return out
}
