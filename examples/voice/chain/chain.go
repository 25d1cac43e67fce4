// Package chain holds the chains of the voice example, so that the build describes, the demo calls and the tests run the
// same ones. voice.yaml beside this folder says Voice once more, as data.
package chain

import (
	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/sdk"
)

// Voice answers a spoken question. What was not understood with enough certainty, silence above all, never reaches the
// model.
var Voice = sdk.MustDefine("voice", func(s *sdk.Steps, question sdk.Val[sdk.Audio]) sdk.Val[sdk.Stream[sdk.Audio]] {
	heard := sdk.Call(s, voice.Transcribe, sdk.Call(s, voice.ResampleClip, question))
	reply := sdk.Switch(s, heard,
		sdk.When(`it.text == "" || it.confidence < 0.35`, func() sdk.Val[sdk.Stream[voice.Sentence]] {
			return sdk.Call(s, voice.Sorry, heard)
		}),
		sdk.Else(func() sdk.Val[sdk.Stream[voice.Sentence]] {
			return sdk.Call(s, voice.Answer, heard)
		}),
	)
	return sdk.Each(s, voice.Speak, reply)
})

// Listen writes down what it hears.
var Listen = sdk.MustDefine("listen", func(s *sdk.Steps, speech sdk.Val[sdk.Audio]) sdk.Val[voice.Transcript] {
	return sdk.Call(s, voice.Transcribe, sdk.Call(s, voice.ResampleClip, speech))
})

// Talk answers a voice while it goes on: the audio of a microphone goes in, that of the answers comes out, and who speaks
// over an answer ends it.
var Talk = sdk.MustDefine("talk", func(s *sdk.Steps, microphone sdk.Val[sdk.Stream[sdk.Audio]]) sdk.Val[sdk.Stream[sdk.Audio]] {
	s.InterruptOnOnset()
	speech := sdk.Call(s, voice.VAD, sdk.Call(s, voice.Resample, microphone))
	heard := sdk.Call(s, voice.Listen, speech)
	return sdk.Each(s, voice.Speak, sdk.Call(s, voice.Reply, heard))
})
