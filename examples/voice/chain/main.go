// Command chain describes the chains of the voice example to `catenary build`.
package main

import (
	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/sdk"
)

func main() { sdk.Main(voice.Voice, voice.Listen) }
