package rewrite

import "fmt"

// DefaultFuelSlice is the number of loop iterations and function entries between two yields: about 0.1 ms of a tight
// loop. It bounds how late a deadline is seen and how long the host's garbage collector waits for a guest.
const DefaultFuelSlice = 65536

// Options are the choices of a rewrite.
type Options struct {
	FuelSlice int32 // loop iterations and function entries between two yields; DefaultFuelSlice if it isn't positive
}

// Kinds of imports and exports.
const (
	KindFunc   byte = 0
	KindTable  byte = 1
	KindMemory byte = 2
	KindGlobal byte = 3
	KindTag    byte = 4
)

// Value types that a captured global can have.
const (
	TypeI32 byte = 0x7f
	TypeI64 byte = 0x7e
	TypeF32 byte = 0x7d
	TypeF64 byte = 0x7c
)

// Segment is what an active data segment puts into the memory before the module starts. Bytes are part of the input.
type Segment struct {
	Offset uint32
	Bytes  []byte
}

// Global is a mutable global of the module, exported under a reserved name.
type Global struct {
	Export string
	Type   byte // TypeI32 to TypeF64
}

// Import is an import of the original module.
type Import struct {
	Module, Name string
	Kind         byte
}

// Module is a module after its rewriting, and what a driver has to know of it.
type Module struct {
	// Wasm is the instrumented module. If Uncapturable is empty, its active data segments hold no bytes and it has no
	// start section.
	Wasm []byte

	Command bool            // it exports the function _start
	Reactor bool            // it exports the function _initialize
	Exports map[string]byte // kinds of the original exports, by name
	Imports []Import        // the original imports, in order

	Data    []Segment // what the host writes before the start, in order; nil if Uncapturable
	Globals []Global  // every mutable global of the module that is a number, and Fuel
	Fuel    Global
	Start   string // the export to call first, once Data is written; empty if there is none or if Uncapturable

	MemMinPages uint32 // of 64 KiB
	MemMaxPages uint32 // the declared maximum, else 65536

	// Uncapturable says in words for people why an image of memory and globals would not be all of the module's
	// state. It is empty if it is.
	Uncapturable string
}

// Rewrite returns the module with fuel, ready to be captured if that is possible. It keeps no more of the input than
// Module.Data. It returns an error wrapping [functions.ErrInvalid], with what is wrong at which byte, for a module that
// can't run here.
func Rewrite(wasm []byte, opt Options) (*Module, error) {
	w := rewriter{in: wasm, slice: opt.FuelSlice}
	return w.rewrite()
}

// reserved begins the names of all exports that Rewrite adds.
const reserved = "__catenary_"

const (
	pageBytes = 64 << 10
	maxPages  = 1 << 16 // of a memory with 32-bit addresses
)

// rewriter is one rewriting. Its fields are filled from front to back of the module.
type rewriter struct {
	in    []byte
	slice int32
	again bool // it reads a module that has been rewritten, for the tests
	mod   Module

	sections  [secEnd]section
	names     section // after its name
	yieldType uint32

	funcImports   uint32 // and so the number of the yield
	funcs         uint32 // defined in the module
	globalImports uint32
	globalCount   uint32 // defined in the module
	memoryCount   uint32
	reads, drops  []uint32 // data segments that the code reads and drops

	exports  []byte // the entries of the export section that are added
	exported uint32 // their number
}

func (w *rewriter) fuelGlobal() uint32 { return w.globalImports + w.globalCount }

// because notes why the module can't be captured. The first reason counts.
func (w *rewriter) because(format string, args ...any) {
	if w.mod.Uncapturable == "" {
		w.mod.Uncapturable = fmt.Sprintf(format, args...)
	}
}

// export adds an export.
func (w *rewriter) export(name string, kind byte, index uint32) {
	w.exports = appendU32(append(appendName(w.exports, name), kind), index)
	w.exported++
}

// header checks the first eight bytes.
func (w *rewriter) header(r *reader) {
	switch {
	case len(w.in) < 8 || string(w.in[:4]) != "\x00asm":
		r.fail(0, "not WebAssembly")
	case string(w.in[4:8]) == "\x0d\x00\x01\x00":
		r.fail(4, "a component, not a core module: build it for wasm32-wasip1, or take the core module out of it")
	case string(w.in[4:8]) != "\x01\x00\x00\x00":
		r.fail(4, "WebAssembly of unknown version %#x", w.in[4:8])
	}
	r.skip(8)
}

// rewrite reads every section once, those that others depend on first, and puts the new module together.
func (w *rewriter) rewrite() (*Module, error) {
	if w.slice <= 0 {
		w.slice = DefaultFuelSlice
	}
	r := &reader{b: w.in}
	w.header(r)
	w.split(r)
	var body [secEnd][]byte
	body[secType] = w.types(r)
	body[secImport] = w.imports(r)
	w.funcs = w.list(r, secFunction, func(uint32) { r.typeIndex() })
	w.globalCount = w.length(r, secGlobal)
	w.originalExports(r)
	if r.err != nil {
		return nil, r.err
	}
	body[secTable] = w.tables(r)
	w.memories(r)
	w.list(r, secTag, func(uint32) { r.byte(); r.typeIndex() })
	body[secGlobal] = w.globals(r)
	body[secElement] = w.elements(r)
	body[secCode] = w.code(r)
	data := w.data(r)
	start := w.start(r)
	for _, id := range []byte{secFunction, secMemory, secTag, secDataCount} {
		body[id] = w.in[w.sections[id].start:w.sections[id].end]
	}
	if r.err != nil {
		return nil, r.err
	}
	switch {
	case w.mod.Uncapturable != "":
		// data segments have no functions in their offsets: they stay byte for byte
		w.mod.Data = nil
		body[secData] = w.in[w.sections[secData].start:w.sections[secData].end]
		body[secStart] = start
	default:
		body[secData] = data
		if data == nil {
			body[secDataCount] = nil
		}
		if start != nil {
			w.mod.Start = reserved + "start"
			w.exports = append(append(appendName(w.exports, w.mod.Start), KindFunc), start...)
			w.exported++
		}
	}
	body[secExport] = w.newExports(r)
	if r.err != nil {
		return nil, r.err
	}
	w.assemble(&body)
	return &w.mod, nil
}

// assemble writes the sections in their order and the names behind them.
func (w *rewriter) assemble(body *[secEnd][]byte) {
	names := w.functionNames()
	size := 8 + len(names) + size32 + 1
	for _, b := range body {
		size += len(b) + size32 + 1
	}
	out := append(make([]byte, 0, size), w.in[:8]...)
	for _, id := range sectionOrder {
		if len(body[id]) > 0 {
			out = appendSection(out, id, body[id])
		}
	}
	if names != nil {
		out = appendSection(out, secCustom, names)
	}
	w.mod.Wasm = out
}
