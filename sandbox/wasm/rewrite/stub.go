package rewrite

// Stub returns the module with every function body replaced by a single unreachable. All else is as it was, so native
// code that was compiled from the module fits the stub. It must never run by itself.
//
// An engine that has the native code still decodes and validates the bodies, which for a Go guest takes longer than
// anything else it does to load it.
func Stub(wasm []byte) ([]byte, error) {
	w := &rewriter{in: wasm}
	r := &reader{b: wasm}
	w.header(r)
	w.split(r)
	n := w.length(r, secCode)
	if r.err != nil {
		return nil, r.err
	}
	code := w.sections[secCode]
	if !code.here {
		return wasm, nil
	}
	// A body is its size, no locals, unreachable, end.
	bodies := make([]byte, 0, size32+4*int(n))
	bodies = appendU32(bodies, n)
	for range n {
		bodies = append(bodies, 3, 0, 0x00, 0x0b)
	}
	// What stands in front of the code is its section's id and the length in however many bytes.
	before := code.start - 1
	for wasm[before-1]&0x80 != 0 {
		before--
	}
	out := make([]byte, 0, len(wasm)-(code.end-code.start)+len(bodies)+size32)
	out = append(out, wasm[:before-1]...)
	out = appendSection(out, secCode, bodies)
	return append(out, wasm[code.end:]...), nil
}
