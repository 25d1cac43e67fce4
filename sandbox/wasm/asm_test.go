package wasm

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/catenary-run/catenary/functions"
)

// asm puts a small module together, for guests that no compiler makes. Functions are numbered from the imports on.
type asm struct {
	imports []asmImport
	funcs   []asmFunc
	memMin  uint32 // pages; 1 if it is 0
	noMem   bool
	memName string // "memory" if it is empty
	start   int    // number of the start function; 0 if there is none
	data    string // at address dataAt
	table   bool   // a table of functions
}

type asmImport struct{ module, name, sig string }

// asmFunc is a function: its signature in letters, i32 locals beside its parameters, and its code without the end.
type asmFunc struct {
	export string
	sig    string
	locals uint32
	code   []byte
}

const dataAt = 1024

func uleb(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

func sleb(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func asmName(b []byte, s string) []byte { return append(uleb(b, uint64(len(s))), s...) }

func asmSection(out []byte, id byte, count int, body []byte) []byte {
	head := uleb(nil, uint64(count))
	out = uleb(append(out, id), uint64(len(head)+len(body)))
	return append(append(out, head...), body...)
}

func (a *asm) build() []byte {
	var types, imports, funcs, exports, codes []byte
	typ := func(sig string) uint64 { // one type per function keeps it simple
		params, results := hostFunc{sig: sig}.types()
		types = uleb(append(types, 0x60), uint64(len(params)))
		types = uleb(append(types, params...), uint64(len(results)))
		types = append(types, results...)
		return 0
	}
	n := uint64(0)
	for _, im := range a.imports {
		typ(im.sig)
		imports = uleb(append(asmName(asmName(imports, im.module), im.name), 0), n)
		n++
	}
	exported := 0
	if !a.noMem {
		name := a.memName
		if name == "" {
			name = "memory"
		}
		exports = append(asmName(exports, name), 2, 0)
		exported++
	}
	for _, f := range a.funcs {
		typ(f.sig)
		funcs = uleb(funcs, n)
		if f.export != "" {
			exports = uleb(append(asmName(exports, f.export), 0), n)
			exported++
		}
		body := []byte{0}
		if f.locals > 0 {
			body = append(uleb([]byte{1}, uint64(f.locals)), 0x7f)
		}
		body = append(append(body, f.code...), 0x0b)
		codes = append(uleb(codes, uint64(len(body))), body...)
		n++
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = asmSection(out, 1, int(n), types)
	out = asmSection(out, 2, len(a.imports), imports)
	out = asmSection(out, 3, len(a.funcs), funcs)
	if a.table {
		out = asmSection(out, 4, 1, []byte{0x70, 0, 1})
	}
	if !a.noMem {
		out = asmSection(out, 5, 1, uleb([]byte{0}, uint64(max(a.memMin, 1))))
	}
	out = asmSection(out, 7, exported, exports)
	if a.start > 0 {
		start := uleb(nil, uint64(a.start))
		out = append(uleb(append(out, 8), uint64(len(start))), start...)
	}
	out = asmSection(out, 10, len(a.funcs), codes)
	if a.data != "" {
		seg := append(sleb([]byte{0, 0x41}, dataAt), 0x0b)
		out = asmSection(out, 11, 1, asmName(seg, a.data))
	}
	return out
}

// join joins instructions.
func join(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func i32(v int64) []byte     { return sleb([]byte{0x41}, v) }
func get(n uint64) []byte    { return uleb([]byte{0x20}, n) }
func set(n uint64) []byte    { return uleb([]byte{0x21}, n) }
func callFn(n uint64) []byte { return uleb([]byte{0x10}, n) }

var (
	drop        = []byte{0x1a}
	wrap        = []byte{0xa7} // i64 to i32
	unreachable = []byte{0x00}
	growMemory  = []byte{0x40, 0}
	forever     = []byte{0x03, 0x40, 0x0c, 0, 0x0b, 0x00} // loop br 0 end unreachable
	tableGrow   = []byte{0xd0, 0x70, 0x41, 1, 0xfc, 15, 0, 0x1a}
)

// v1 are the imports of catenary_v1, numbered as below.
var v1 = []asmImport{
	{"catenary_v1", "item_recv", "iii:I"},
	{"catenary_v1", "item_send", "iii:i"},
	{"catenary_v1", "open", "ii:i"},
	{"catenary_v1", "log", "iii:"},
	{"catenary_v1", "fail", "ii:"},
	{"wasi_snapshot_preview1", "fd_close", "i:i"},
	{"wasi_snapshot_preview1", "proc_exit", "i:"},
}

const (
	fnRecv = iota
	fnSend
	fnOpen
	fnLog
	fnFail
	fnClose
	fnExit
	fnFirst // of the module's own
)

// reactor returns a module with the imports v1 and catenary_call made of body, which leaves the result on the stack.
// Locals 0 and 1 are the descriptors, 2 to 9 are free.
func reactor(body ...[]byte) *asm {
	return &asm{imports: v1, funcs: []asmFunc{{export: "catenary_call", sig: "ii:i", locals: 8, code: join(body...)}}}
}

// echo is a body that sends its input back, up to 32 KiB.
func echo() []byte {
	return join(
		get(0), i32(4096), i32(32768), callFn(fnRecv), wrap, set(2),
		get(1), i32(4096), get(2), callFn(fnSend))
}

// write stores the module and returns its file and a manifest of kind wasm whose sides are any value.
func (a *asm) write(t testing.TB) (string, *functions.Manifest) {
	t.Helper()
	wasm := a.build()
	path := filepath.Join(t.TempDir(), "module.wasm")
	if err := os.WriteFile(path, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	anyValue := functions.Port{Schema: &functions.Schema{}}
	return path, &functions.Manifest{Name: "asm", Kind: functions.KindWASM, Artifact: functions.DigestOf(wasm), In: anyValue, Out: anyValue}
}
