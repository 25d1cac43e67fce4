package voice

import "github.com/catenary-run/catenary/sdk"

// Transcript is what was understood of an utterance.
type Transcript struct {
	// Text is the words in lower case, one space between two. It is empty if there were none.
	Text string `json:"text"`
	// Confidence is the mean posterior probability of the words, from 0 to 1. It is 0 without words.
	Confidence float64 `json:"confidence"`
}

// Sentence is one sentence of an answer, to be spoken as one piece.
type Sentence struct {
	Text string `json:"text"`
}

// The functions of the voice chain.
var (
	Transcribe = sdk.NewFunc[sdk.Audio, Transcript]("transcribe")
	Answer     = sdk.NewFunc[Transcript, sdk.Stream[Sentence]]("answer")
	Sorry      = sdk.NewFunc[Transcript, sdk.Stream[Sentence]]("sorry")
	Speak      = sdk.NewFunc[Sentence, sdk.Audio]("speak")
)
