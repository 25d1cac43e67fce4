package rewrite

import (
	"strings"

	"github.com/catenary-run/catenary/sandbox/wasm/abi"
)

// originalExports reads what the module exports by itself.
func (w *rewriter) originalExports(r *reader) {
	w.mod.Exports = map[string]byte{}
	w.list(r, secExport, func(uint32) {
		at := r.i
		name := r.name()
		kind := r.byte()
		switch {
		case kind == KindGlobal:
			r.index("global", w.fuelGlobal())
		case kind <= KindTag:
			r.u32()
		default:
			r.fail(at, "unknown kind of export %d", kind)
		}
		if strings.HasPrefix(name, reserved) && !w.again {
			r.fail(at, "an export with the name %s: names that begin with %s are the host's own", name, reserved)
		}
		w.mod.Exports[name] = kind
	})
	kind, here := w.mod.Exports[abi.Start]
	w.mod.Command = here && kind == KindFunc
	kind, here = w.mod.Exports[abi.Initialize]
	w.mod.Reactor = here && kind == KindFunc
}

// newExports returns the body of an export section with renumbered functions and all that was added by export.
func (w *rewriter) newExports(r *reader) []byte {
	sec := w.sections[secExport]
	out := make([]byte, 0, sec.end-sec.start+len(w.exports)+64)
	n := w.list(r, secExport, func(uint32) {
		start := r.i
		r.bytes()
		kind := r.byte()
		out = append(out, r.b[start:r.i]...)
		if kind == KindFunc {
			out = w.copyFunc(r, out)
		} else {
			out = appendU32(out, r.u32())
		}
	})
	out = append(out, w.exports...)
	return append(appendU32(make([]byte, 0, len(out)+size32), n+w.exported), out...)
}
