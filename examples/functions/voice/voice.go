package voice

import (
	"time"

	"github.com/catenary-run/catenary/sdk"
)

// Transcript is what was understood of an utterance.
type Transcript struct {
	// Text is the words in lower case, one space between two. It is empty if there were none.
	Text string `json:"text"`
	// Confidence is the mean posterior probability of the words, from 0 to 1. It is 0 without words.
	Confidence float64 `json:"confidence"`
}

// What a [Speech] or [Heard] tells of an utterance.
const (
	Onset   = "onset"   // it begins
	Sound   = "audio"   // it goes on
	End     = "end"     // it is over
	Partial = "partial" // what was understood so far, which may change
	Final   = "final"   // what was understood, for good
)

// Speech is a part of an utterance in a stream of audio: an [Onset], any number of [Sound], and an [End]. The audio of
// the three, one after the other, is the utterance, from a little before its beginning. Between utterances nothing comes.
type Speech struct {
	// Kind is Onset, Sound or End.
	Kind string `json:"kind"`
	// Audio is mono at 16 kHz. That of an End may have no samples.
	Audio sdk.Audio `json:"audio"`
	// At is where Audio begins, from the beginning of the stream.
	At time.Duration `json:"at"`
}

// Heard is what was understood of an utterance while it is spoken: an [Onset], any number of [Partial], and a [Final].
type Heard struct {
	// Kind is Onset, Partial or Final.
	Kind string `json:"kind"`
	// Text is all that was understood of the utterance, as in a Transcript. An Onset has none.
	Text string `json:"text"`
	// Confidence is as in a Transcript. It is 0 unless Kind is Final.
	Confidence float64 `json:"confidence"`
}

// Text is a piece of a text as it is made, such as the text of a token. White space between two pieces is a part of one
// of them.
type Text struct {
	Text string `json:"text"`
	// Last says that the text ends here, so that its last sentence need not wait for what comes after it.
	Last bool `json:"last,omitempty"`
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

// The functions of the voice chain over streams.
var (
	// Resample makes audio of 8000 to 192000 Hz and 1 to 8 channels mono at 16 kHz, ResampleClip one that is there as a
	// whole.
	Resample     = sdk.NewFunc[sdk.Stream[sdk.Audio], sdk.Stream[sdk.Audio]]("resample")
	ResampleClip = sdk.NewFunc[sdk.Audio, sdk.Audio]("resample-clip")
	// VAD finds utterances in audio that is mono at 16 kHz.
	VAD = sdk.NewFunc[sdk.Stream[sdk.Audio], sdk.Stream[Speech]]("vad")
	// Listen hears the words of utterances. It opens a turn at each onset.
	Listen = sdk.NewFunc[sdk.Stream[Speech], sdk.Stream[Heard]]("listen").OpensTurns()
	// Reply answers what is heard for good, each in its turn, and goes on listening meanwhile.
	Reply = sdk.NewFunc[sdk.Stream[Heard], sdk.Stream[Sentence]]("reply")
	// Sentences cuts texts into sentences.
	Sentences = sdk.NewFunc[sdk.Stream[Text], sdk.Stream[Sentence]]("sentences")
)
