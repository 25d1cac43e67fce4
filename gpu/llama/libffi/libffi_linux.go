package libffi

import (
	"fmt"
	"os"

	"github.com/ebitengine/purego"
)

// library is the file that the binding asks for.
const library = "libffi.so.8"

var _ = look(library, os.Exit)

// look ends the program with a remedy if there is no such library.
func look(name string, exit func(int)) error {
	_, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		fmt.Fprintf(os.Stderr, "catenary: %s is missing, which its binding to llama.cpp needs from the start: on Debian, apt-get install libffi8\n", name)
		exit(1)
	}
	return err
}
