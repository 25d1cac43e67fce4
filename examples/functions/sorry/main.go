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

// sorry tells silence from words that were not certain enough.
func sorry(_ context.Context, heard voice.Transcript) (sdk.Stream[voice.Sentence], error) {
	sentences := []voice.Sentence{{Text: "Sorry, I did not understand you."}, {Text: "Please say that again."}}
	if heard.Text == "" {
		sentences = []voice.Sentence{{Text: "Sorry, I did not hear a question."}}
	}
	return sdk.StreamOf(slices.Values(sentences)), nil
}
