// Command transcribe is a plugin: it hears the words of an utterance with pocketsphinx and its model of US English.
//
// The input is a wav file of 16-bit PCM, mono, at 16 kHz. The confidence is the mean posterior probability of the words,
// and 0 if there are none: silence, noise and tones, gliding ones too, are not listened to.
//
// The library and the model are Debian's packages pocketsphinx and pocketsphinx-en-us: see package pocketsphinx.
package main

import (
	"context"
	"errors"

	"github.com/catenary-run/catenary/examples/functions/pocketsphinx"
	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/plugin"
)

func main() {
	var t transcriber
	plugin.Serve(voice.Transcribe, t.transcribe, plugin.OnStart(t.load))
}

// transcriber is the function with its decoder.
type transcriber struct {
	decoder *pocketsphinx.Decoder
}

// load opens the library and loads the model, before the plugin says that it is ready.
func (t *transcriber) load() (err error) {
	t.decoder, err = pocketsphinx.Open(pocketsphinx.ModelDir)
	return err
}

func (t *transcriber) transcribe(ctx context.Context, audio sdk.Audio) (voice.Transcript, error) {
	if t.decoder == nil {
		return voice.Transcript{}, errors.New("the decoder is not loaded")
	}
	file, err := sdk.ReadBlob(ctx, audio.Blob)
	if err != nil {
		return voice.Transcript{}, err
	}
	samples, err := utterance(file)
	if err != nil {
		return voice.Transcript{}, err
	}
	return t.decoder.Hear(samples)
}
