package main

import (
	"context"
	"fmt"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/examples/functions/voice/pcm"
	"github.com/catenary-run/catenary/sdk"
)

// vad sends the parts of utterances as they come, none bigger than the audio that it was cut from and what was held
// back before an onset.
func vad(ctx context.Context, in sdk.Stream[sdk.Audio]) (sdk.Stream[voice.Speech], error) {
	return func(yield func(voice.Speech, error) bool) {
		send := func(parts []part) bool {
			for _, p := range parts {
				audio, err := pcm.Write(ctx, p.samples)
				if !yield(voice.Speech{Kind: p.kind, Audio: audio, At: pcm.Dur(p.at)}, err) || err != nil {
					return false
				}
			}
			return true
		}
		d := newDetector()
		count := 0
		for audio, err := range in {
			if err != nil {
				yield(voice.Speech{}, err)
				return
			}
			samples, err := pcm.ReadMono(ctx, audio)
			if err != nil {
				yield(voice.Speech{}, fmt.Errorf("audio %d of the stream: %w", count, err))
				return
			}
			count++
			if !send(d.add(samples)) {
				return
			}
		}
		send(d.end())
	}, nil
}
