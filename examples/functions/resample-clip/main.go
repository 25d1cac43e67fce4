// Command resample-clip is a WASM function: it makes one audio of 8000 to 192000 Hz and 1 to 8 channels mono at 16 kHz.
package main

import (
	"context"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/examples/functions/voice/pcm"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() { guest.Serve(voice.ResampleClip, resample) }

func main() {}

func resample(ctx context.Context, audio sdk.Audio) (sdk.Audio, error) {
	info, err := pcm.Read(ctx, audio)
	if err != nil {
		return sdk.Audio{}, err
	}
	r := pcm.NewResampler(info.SampleHz)
	room := int(info.Dur.Seconds()*pcm.SampleHz) + 2
	return pcm.Write(ctx, r.Flush(r.Add(make([]int16, 0, room), info.Data, info.Channels)))
}
