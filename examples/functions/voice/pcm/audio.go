package pcm

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk"
)

// SampleHz is the rate of samples in the voice chain: that which acoustic models are trained with.
const SampleHz = 16_000

// What is taken: from telephones to studios.
const (
	minHz       = 8_000
	maxHz       = 192_000
	maxChannels = 8
)

// Dur returns how long n samples play.
func Dur(n int64) time.Duration {
	return time.Duration(n/SampleHz)*time.Second + time.Duration(n%SampleHz)*time.Second/SampleHz
}

// Read returns what the wav file of an audio holds. The error wraps functions.ErrInvalid if it is no file for wav.Parse,
// or one of a rate or channel count that is not taken.
func Read(ctx context.Context, audio sdk.Audio) (wav.Info, error) {
	file, err := sdk.ReadBlob(ctx, audio.Blob)
	if err != nil {
		return wav.Info{}, err
	}
	info, err := wav.Parse(file)
	if err != nil {
		return wav.Info{}, err
	}
	if info.SampleHz < minHz || info.SampleHz > maxHz || info.Channels > maxChannels {
		return wav.Info{}, fmt.Errorf("%w: got a wav of %d Hz with %d channels; need %d to %d Hz and at most %d channels",
			functions.ErrInvalid, info.SampleHz, info.Channels, minHz, maxHz, maxChannels)
	}
	return info, nil
}

// ReadMono returns the samples of an audio that is mono at [SampleHz] already. The error wraps functions.ErrInvalid if
// it is not.
func ReadMono(ctx context.Context, audio sdk.Audio) ([]int16, error) {
	info, err := Read(ctx, audio)
	if err != nil {
		return nil, err
	}
	if info.SampleHz != SampleHz || info.Channels != 1 {
		return nil, fmt.Errorf("%w: got a wav of %d Hz with %d channels; need %d Hz, mono: put the function resample in front",
			functions.ErrInvalid, info.SampleHz, info.Channels, SampleHz)
	}
	samples := make([]int16, len(info.Data)/2)
	for i := range samples {
		samples[i] = int16(binary.LittleEndian.Uint16(info.Data[2*i:]))
	}
	return samples, nil
}

// Write makes an audio of mono samples at [SampleHz], to be put into the value that the function sends next. There may
// be none.
func Write(ctx context.Context, samples []int16) (sdk.Audio, error) {
	file := wav.Header(SampleHz, 1, 2*int64(len(samples)))
	at := len(file)
	file = append(file, make([]byte, 2*len(samples))...)
	for i, v := range samples {
		binary.LittleEndian.PutUint16(file[at+2*i:], uint16(v))
	}
	blob, err := sdk.NewBlob(ctx, wav.MediaType, file)
	if err != nil {
		return sdk.Audio{}, err
	}
	return sdk.Audio{Blob: blob, SampleHz: SampleHz, Channels: 1, Dur: Dur(int64(len(samples)))}, nil
}
