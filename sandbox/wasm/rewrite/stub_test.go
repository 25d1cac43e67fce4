package rewrite

import (
	"bytes"
	"errors"
	"testing"

	"github.com/catenary-run/catenary/functions"
)

func TestStub_OnlyBodiesChange(t *testing.T) {
	for name, in := range map[string][]byte{"everything": everything(), "looping": looping(), "flite": flite(t)} {
		t.Run(name, func(t *testing.T) {
			in = mustRewrite(t, in, Options{}).Wasm
			stub, err := Stub(in)
			if err != nil {
				t.Fatal(err)
			}
			full, bare := sectionsOf(t, in), sectionsOf(t, stub)
			for id := range full {
				if byte(id) == secCode {
					continue
				}
				if !bytes.Equal(full[id], bare[id]) {
					t.Errorf("%s changed", sectionNames[id])
				}
			}
			n := (&reader{b: full[secCode]}).u32()
			want := appendU32(nil, n)
			for range n {
				want = append(want, 3, 0, 0, opEnd)
			}
			if !bytes.Equal(bare[secCode], want) {
				t.Errorf("the stub's code has %d bytes, want %d", len(bare[secCode]), len(want))
			}
			if len(stub) >= len(in) {
				t.Errorf("the stub has %d bytes, the module %d", len(stub), len(in))
			}
		})
	}
}

func TestStub_WithoutCode(t *testing.T) {
	in := module()
	stub, err := Stub(in)
	if err != nil || !bytes.Equal(stub, in) {
		t.Errorf("got %x, %v", stub, err)
	}
}

func TestStub_Refused(t *testing.T) {
	for _, in := range [][]byte{nil, []byte("hello, world"), looping()[:20]} {
		if _, err := Stub(in); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("%.8x: %v, want ErrInvalid", in, err)
		}
	}
}

// sectionsOf returns the contents of a module's sections by their ids.
func sectionsOf(t *testing.T, wasm []byte) [secEnd][]byte {
	t.Helper()
	w := &rewriter{in: wasm}
	r := &reader{b: wasm}
	w.header(r)
	w.split(r)
	if r.err != nil {
		t.Fatal(r.err)
	}
	var all [secEnd][]byte
	for id, s := range w.sections {
		if s.here {
			all[id] = wasm[s.start:s.end]
		}
	}
	return all
}
