// Command listen is a plugin: it hears the words of utterances with pocketsphinx while they are spoken, and opens a turn
// at the onset of each but the first.
//
// The input is what the function vad yields. An onset comes out at once. While somebody speaks, what is understood so far
// comes at most every 300 ms of speech. Soon after the end comes what was understood for good, with its confidence, the
// mean posterior probability of the words as the function transcribe gives it.
//
// An utterance is searched as it comes, so that at its end only the last passes are left: less than a third of the time
// that it takes to hear it as a whole, as transcribe does (BenchmarkLastSample of package pocketsphinx). That search begins
// with what it knows of the voice, which at the first words of a session is nothing. So what it is not sure of is heard
// once more as a whole.
package main

import (
	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/sdk/plugin"
)

func main() {
	var l listener
	plugin.ServeDuplex(voice.Listen, l.listen, plugin.OnStart(l.load))
}
