//go:build !wasip1

package guest

import (
	"context"
	"fmt"
	"os"

	"github.com/catenary-run/catenary/sdk"
)

// Serve serves f by impl. It is called once, from an init func of the program.
func Serve[I, O any](f sdk.Func[I, O], _ func(context.Context, I) (O, error)) { describe(f) }

// ServeDuplex serves f by an implementation that reads its input and sends its output at a pace of its own. It is called
// once, from an init func of the program. All goroutines of the implementation go on while one waits.
func ServeDuplex[I, O any](f sdk.Func[sdk.Stream[I], sdk.Stream[O]], _ sdk.Duplex[I, O]) { describe(f) }

// describe is what the program does outside a sandbox.
func describe[I, O any](f sdk.Func[I, O]) {
	if !sdk.Describing() {
		fmt.Fprintf(os.Stderr, "function %s runs as WASM: build it with `catenary build`, or with GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared\n", f.Name())
		return
	}
	d, err := f.Describe()
	if err == nil {
		err = sdk.Description{Functions: []sdk.FuncDescription{d}}.Print(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
