// Command sentences is a WASM function: it cuts texts into sentences while they are made.
package main

import (
	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() { guest.ServeDuplex(voice.Sentences, split) }

func main() {}
