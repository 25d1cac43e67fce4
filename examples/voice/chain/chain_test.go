package chain_test

import (
	"context"
	"testing"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/examples/voice/chain"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/sdktest"
)

func say(texts ...string) func(context.Context, voice.Transcript) (sdk.Stream[voice.Sentence], error) {
	return func(context.Context, voice.Transcript) (sdk.Stream[voice.Sentence], error) {
		return func(yield func(voice.Sentence, error) bool) {
			for _, text := range texts {
				if !yield(voice.Sentence{Text: text}, nil) {
					return
				}
			}
		}, nil
	}
}

// TestVoice_RefusesWhatIsUnsure: the route says what Unsure says, which the chain talk goes by.
func TestVoice_RefusesWhatIsUnsure(t *testing.T) {
	for _, heard := range []voice.Transcript{
		{Text: "", Confidence: 0}, {Text: "", Confidence: 1}, {Text: "x", Confidence: 0}, {Text: "x", Confidence: 0.3499},
		{Text: "x", Confidence: 0.35}, {Text: "x", Confidence: 1},
	} {
		blobs := &sdktest.Blobs{}
		var spoken string
		_, err := sdktest.Run(t, chain.Voice, blobs.Audio(t, append(wav.Header(16000, 1, 2), 0, 0)), blobs,
			sdktest.Bind(voice.Transcribe, func(context.Context, sdk.Audio) (voice.Transcript, error) { return heard, nil }),
			sdktest.Bind(voice.Sorry, say("sorry")), sdktest.Bind(voice.Answer, say("answer")),
			sdktest.Bind(voice.Speak, func(ctx context.Context, s voice.Sentence) (a sdk.Audio, err error) {
				spoken += s.Text
				a.Blob, err = sdk.NewBlob(ctx, wav.MediaType, wav.Header(16000, 1, 0))
				return a, err
			}))
		if err != nil {
			t.Fatal(err)
		}
		if (spoken == "sorry") != heard.Unsure() || spoken == "" {
			t.Errorf("%+v: the chain says %q, Unsure %v", heard, spoken, heard.Unsure())
		}
	}
}
