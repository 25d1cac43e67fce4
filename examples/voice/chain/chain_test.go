package chain_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/examples/voice/chain"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/sdktest"
	"github.com/google/go-cmp/cmp"
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
			sdktest.Bind(voice.ResampleClip, func(_ context.Context, a sdk.Audio) (sdk.Audio, error) { return a, nil }),
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

// same passes on what it gets.
func same(_ context.Context, in sdk.Stream[sdk.Audio]) (sdk.Stream[sdk.Audio], error) { return in, nil }

// utterances takes each audio for an utterance.
func utterances(_ context.Context, in sdk.Stream[sdk.Audio]) (sdk.Stream[voice.Speech], error) {
	return func(yield func(voice.Speech, error) bool) {
		for a, err := range in {
			if !yield(voice.Speech{Kind: voice.End, Audio: a}, err) || err != nil {
				return
			}
		}
	}, nil
}

// each is a full-duplex implementation that makes many items of one.
func each[I, O any](f func(turn uint64) []O, opens bool) sdk.Duplex[I, O] {
	return func(ctx context.Context, in *sdk.Receiver[I], out *sdk.Sender[O]) error {
		for turn := uint64(0); ; turn++ {
			m, err := in.Recv(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if !opens {
				turn = m.Turn
			}
			for _, v := range f(turn) {
				if err := out.Send(ctx, sdk.Msg[O]{Value: v, Turn: turn}); err != nil {
					return err
				}
			}
		}
	}
}

// TestTalk: the steps fit together, and each utterance begins a turn that ends the one before, though its answer is not
// spoken yet.
func TestTalk(t *testing.T) {
	blobs := &sdktest.Blobs{}
	audio := blobs.Audio(t, append(wav.Header(16000, 1, 2), 0, 0))
	const last = 4
	out, err := sdktest.Run(t, chain.Talk, sdk.StreamOf(slices.Values(slices.Repeat([]sdk.Audio{audio}, last+1))), blobs,
		sdktest.Bind(voice.Resample, same), sdktest.Bind(voice.VAD, utterances),
		sdktest.BindDuplex(voice.Listen, each[voice.Speech](func(uint64) []voice.Heard { return []voice.Heard{{Kind: voice.Onset}, {Kind: voice.Final}} }, true)),
		sdktest.BindDuplex(voice.Reply, each[voice.Heard](func(turn uint64) []voice.Sentence { return []voice.Sentence{{Text: fmt.Sprint(turn)}} }, false)),
		sdktest.Bind(voice.Speak, func(ctx context.Context, s voice.Sentence) (a sdk.Audio, err error) {
			if s.Text != fmt.Sprint(last) {
				<-ctx.Done() // it is spoken over
				return a, context.Cause(ctx)
			}
			a.Blob, err = sdk.NewBlob(ctx, wav.MediaType, []byte(s.Text))
			return a, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for a, err := range out {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(blobs.Data(t, a.Blob)))
	}
	if diff := cmp.Diff([]string{"4", "4"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
