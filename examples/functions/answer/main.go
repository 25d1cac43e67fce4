// Command answer is a WASM function: it answers a question with the model llm, sentence by sentence.
package main

import (
	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() { guest.Serve(voice.Answer, answer) }

func main() {}
