package main

import (
	"context"
	"fmt"

	"github.com/catenary-run/catenary/examples/functions/voice/pcm"
	"github.com/catenary-run/catenary/sdk"
)

// resample sends, for each audio, what it and the end of the one before become, and what is left at the end. The rate
// may change in between, as it does when a caller plugs in a headset: then what came before is ended, and the next goes
// on behind it.
func resample(ctx context.Context, in sdk.Stream[sdk.Audio]) (sdk.Stream[sdk.Audio], error) {
	return func(yield func(sdk.Audio, error) bool) {
		var r *pcm.Resampler
		var samples []int16
		send := func() bool {
			if len(samples) == 0 {
				return true
			}
			audio, err := pcm.Write(ctx, samples)
			samples = samples[:0]
			return yield(audio, err) && err == nil
		}
		count := 0
		for audio, err := range in {
			if err != nil {
				yield(sdk.Audio{}, err)
				return
			}
			info, err := pcm.Read(ctx, audio)
			if err != nil {
				yield(sdk.Audio{}, fmt.Errorf("audio %d of the stream: %w", count, err))
				return
			}
			count++
			if r != nil && r.SampleHz() != info.SampleHz {
				samples = r.Flush(samples)
				r = nil
			}
			if r == nil {
				r = pcm.NewResampler(info.SampleHz)
			}
			samples = r.Add(samples, info.Data, info.Channels)
			if !send() {
				return
			}
		}
		if r != nil {
			samples = r.Flush(samples)
			send()
		}
	}, nil
}
