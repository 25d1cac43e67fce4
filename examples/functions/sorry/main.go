// Command sorry is a WASM function: it says that the question was not understood.
package main

import (
	"context"
	"slices"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() { guest.Serve(voice.Sorry, sorry) }

func main() {}

// sorry says it in a sentence or two.
func sorry(_ context.Context, heard voice.Transcript) (sdk.Stream[voice.Sentence], error) {
	return sdk.StreamOf(slices.Values(heard.Sorry())), nil
}
