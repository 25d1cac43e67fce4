//go:build linux

package libffi

import "testing"

func TestLook(t *testing.T) {
	code := 0
	exit := func(c int) { code = c }
	if err := look(library, exit); err != nil || code != 0 {
		t.Errorf("%s: %v, exit %d", library, err, code)
	}
	if err := look("libno-such-library.so.8", exit); err == nil || code != 1 {
		t.Errorf("a library that is missing: %v, exit %d", err, code)
	}
}

// TestOrder: Go initialises packages that wait for no other in the order of their paths.
func TestOrder(t *testing.T) {
	if ours, binding := "github.com/catenary-run/catenary/gpu/llama/libffi", "github.com/jupiterrider/ffi"; ours >= binding {
		t.Errorf("%s is initialised after %s", ours, binding)
	}
}
