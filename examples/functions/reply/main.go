// Command reply is a WASM function: it answers what is heard with the model llm, sentence by sentence, and listens
// meanwhile. An answer ends at once when its turn is over.
package main

import (
	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() { guest.ServeDuplex(voice.Reply, replier{}.reply) }

func main() {}
