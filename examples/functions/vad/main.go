// Command vad is a WASM function: it finds utterances in a stream of audio, by its energy.
//
// The input is mono at 16 kHz: the function resample makes it so. An utterance ends after 400 ms without speech, and
// after 30 s in any case; one that goes on is then another.
package main

import (
	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() { guest.Serve(voice.VAD, vad) }

func main() {}
