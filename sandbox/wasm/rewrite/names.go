package rewrite

import "github.com/catenary-run/catenary/sandbox/wasm/abi"

// Parts of the name section.
const (
	namesModule    = 0
	namesFunctions = 1
)

// functionNames returns a name section with the module's name and those of its functions, renumbered: an engine shows
// them when a function traps. Names of locals and the like are dropped. It returns nil if there is none or if it is
// damaged: names are no part of what a module does.
func (w *rewriter) functionNames() []byte {
	if !w.names.here {
		return nil
	}
	r := &reader{b: w.in[:w.names.end], i: w.names.start}
	out := appendName(make([]byte, 0, w.names.end-w.names.start+64), "name")
	for r.i < len(r.b) {
		start := r.i
		part := r.byte()
		outer := r.enter(r.u32())
		switch part {
		case namesModule:
			r.bytes()
			out = append(out, r.b[start:r.i]...)
		case namesFunctions:
			out = appendSection(out, namesFunctions, w.renumberNames(r))
		default:
			r.skip(len(r.b) - r.i)
		}
		r.leave(outer, "a list of names")
	}
	if r.err != nil {
		return nil
	}
	return out
}

// renumberNames copies a map from functions to names, in which the yield gets its own.
func (w *rewriter) renumberNames(r *reader) []byte {
	n := r.count()
	out := appendU32(make([]byte, 0, len(r.b)-r.i+64), n+1)
	yield := func() {
		out = appendName(appendU32(out, w.funcImports), abi.FuelModule+"."+abi.FuelYield)
	}
	named := false
	for ; n > 0 && r.err == nil; n-- {
		f := r.i
		if number := r.u32(); number >= w.funcImports && !named {
			yield()
			named = true
		}
		r.i = f
		if r.err == nil {
			out = w.copyFunc(r, out)
			f = r.i
			r.bytes()
			out = append(out, r.b[f:r.i]...)
		}
	}
	if !named {
		yield()
	}
	return out
}
