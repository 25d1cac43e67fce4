package rewrite

import "github.com/catenary-run/catenary/sandbox/wasm/abi"

// Small modules are assembled here from their parts.

func module(sections ...[]byte) []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range sections {
		out = append(out, s...)
	}
	return out
}

func sec(id byte, body ...byte) []byte { return appendSection(nil, id, body) }

// vec returns a section that is a list.
func vec(id byte, entries ...[]byte) []byte {
	body := appendU32(nil, uint32(len(entries)))
	for _, e := range entries {
		body = append(body, e...)
	}
	return appendSection(nil, id, body)
}

func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// sized returns b with its length before it.
func sized(b ...byte) []byte { return append(appendU32(nil, uint32(len(b))), b...) }

// body returns a function without local variables.
func body(code ...byte) []byte { return sized(append(append([]byte{0}, code...), opEnd)...) }

func text(s string) []byte { return appendName(nil, s) }

func exported(name string, kind, index byte) []byte { return append(text(name), kind, index) }

func custom(name string, content ...byte) []byte {
	return sec(secCustom, append(text(name), content...)...)
}

var (
	typeVoid   = []byte{typeFunc, 0, 0}
	typeI32Out = []byte{typeFunc, 0, 1, TypeI32}
	typeI32    = []byte{typeFunc, 1, TypeI32, 1, TypeI32}
	onePage    = vec(secMemory, []byte{0, 1})
)

// everything is a module that names functions in every place that can: imports, a start, exports, ref.func in code,
// globals and elements, calls and tail calls, all eight forms of element segments, and names.
//
//	0 env.add1(i32) i32 (imported)    1 start    2 seven() i32    3 main() i32    4 tail(i32) i32    5 recurse() i32    6 trap
func everything() []byte {
	expr := func(f byte) []byte { return []byte{opRefFunc, f, opEnd} }
	at := func(slot byte) []byte { return []byte{opI32Const, slot, opEnd} }
	return module(
		custom("ignored", 1, 2, 3),
		vec(secType, typeI32, typeI32Out, typeVoid),
		vec(secImport, join(text("env"), text("add1"), []byte{KindFunc, 0})),
		vec(secFunction, []byte{2}, []byte{1}, []byte{1}, []byte{0}, []byte{1}, []byte{2}),
		vec(secTable, []byte{typeFuncref, 0, 10}, []byte{typeFuncref, 0, 4}),
		onePage,
		vec(secGlobal,
			[]byte{TypeI32, 1, opI32Const, 5, opEnd},
			[]byte{TypeI64, 1, opI64Const, 6, opEnd},
			join([]byte{typeFuncref, 0}, expr(2)),
			[]byte{TypeI32, 0, opI32Const, 9, opEnd}),
		vec(secExport, exported("main", KindFunc, 3), exported("tail", KindFunc, 4), exported("recurse", KindFunc, 5), exported("trap", KindFunc, 6),
			exported("seven", KindFunc, 2), exported("memory", KindMemory, 0), exported("counter", KindGlobal, 0)),
		sec(secStart, 1),
		vec(secElement,
			join([]byte{0}, at(0), []byte{2, 2, 0}),                                      // active, table 0
			join([]byte{1, 0, 1, 2}),                                                     // passive
			join([]byte{2, 1}, at(0), []byte{0, 1, 2}),                                   // active, table named
			join([]byte{3, 0, 1, 3}),                                                     // declarative
			join([]byte{4}, at(2), []byte{1}, expr(2)),                                   // active, expressions
			join([]byte{5, typeFuncref, 1}, expr(3)),                                     // passive, expressions
			join([]byte{6, 1}, at(1), []byte{typeFuncref, 1}, expr(2)),                   // active, table named, expressions
			join([]byte{7, typeFuncref, 2}, expr(4), []byte{opRefNull, typeFuncref, 11}), // declarative, expressions
		),
		vec(secCode,
			body(opI32Const, 8, opI32Const, 0x2a, 0x36, 2, 0), // start: mem[8] = 42
			body(opI32Const, 7),
			// main: seven() + tail(mem[8]) + table0[0]() + table1[1]() + is_null(ref.func seven)
			body(opCall, 2,
				opI32Const, 8, 0x28, 2, 0, opCall, 4, opI32Add,
				opI32Const, 0, opCallIndirect, 1, 0, opI32Add,
				opI32Const, 1, opCallIndirect, 1, 1, opI32Add,
				opRefFunc, 2, 0xd1, opI32Add),
			body(0x20, 0, opReturnCall, 0),
			body(opCall, 5),
			body(0),
		),
		vec(secData, join([]byte{dataActive}, at(0x20), text("hello"))),
		custom("name", join([]byte{0}, sized(text("m")...), []byte{1},
			sized(join([]byte{3, 0}, text("add1"), []byte{2}, text("seven"), []byte{6}, text("trap"))...),
			[]byte{2}, sized(0))...),
	)
}

// looping exports loop(n) i32, which goes round n times and returns 0, and forever().
func looping() []byte {
	return module(
		vec(secType, typeI32, typeVoid),
		vec(secFunction, []byte{0}, []byte{1}),
		onePage,
		vec(secExport, exported("loop", KindFunc, 0), exported("forever", KindFunc, 1)),
		vec(secCode,
			body(opLoop, TypeI32, 0x20, 0, opI32Const, 1, opI32Sub, 0x22, 0, opIf, typeEmpty, opBr, 1, opEnd, 0x20, 0, opEnd),
			body(opLoop, typeEmpty, opBr, 0, opEnd)),
	)
}

// minimal is the smallest module that can be captured, with more sections between memory and code.
func minimal(code []byte, more ...[]byte) []byte {
	parts := [][]byte{vec(secType, typeVoid), vec(secFunction, []byte{0})}
	parts = append(parts, more...)
	return module(append(parts, vec(secCode, body(code...)))...)
}

var yieldName = abi.FuelModule + "." + abi.FuelYield
