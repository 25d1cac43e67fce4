// Command resample is a WASM function: it makes audio of 8000 to 192000 Hz and 1 to 8 channels mono at 16 kHz, as it comes.
package main

import (
	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() { guest.Serve(voice.Resample, resample) }

func main() {}
