// Command echo is the function of the benchmarks of hops. The linker sets its name and how it takes what it sends back. It
// is a WASM function, and built for the machine itself, a plugin.
package main

import (
	"context"

	"github.com/catenary-run/catenary/sdk"
)

// Set by -ldflags=-X.
var (
	name = "echo"
	mode = "one" // some bytes; stream: all of a stream; blob: one blob, read and written anew
)

func one(_ context.Context, in []byte) ([]byte, error) { return in, nil }

func stream(_ context.Context, in sdk.Stream[[]byte]) (sdk.Stream[[]byte], error) { return in, nil }

func blob(ctx context.Context, in sdk.Blob) (sdk.Blob, error) {
	data, err := sdk.ReadBlob(ctx, in)
	if err != nil {
		return sdk.Blob{}, err
	}
	return sdk.NewBlob(ctx, in.Type, data)
}
