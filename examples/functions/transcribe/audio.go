package main

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
)

const (
	sampleHz = 16_000 // what the acoustic model was trained with
	// maxUtterance bounds the time and memory of one call: the decoder hears an utterance as a whole.
	maxUtterance = 2 * time.Minute
)

// utterance returns the samples of a wav file. Its error wraps functions.ErrInvalid and says what the file is.
func utterance(file []byte) ([]int16, error) {
	info, err := wav.Parse(file)
	if err != nil {
		return nil, err
	}
	if info.SampleHz != sampleHz || info.Channels != 1 {
		return nil, fmt.Errorf("%w: got a wav of %d Hz with %d channels; need %d Hz, mono: convert it, for example with `sox in.wav -r 16000 -c 1 -b 16 out.wav`",
			functions.ErrInvalid, info.SampleHz, info.Channels, sampleHz)
	}
	if info.Dur > maxUtterance {
		return nil, fmt.Errorf("%w: got %s of audio; need at most %s", functions.ErrInvalid, info.Dur.Round(time.Second), maxUtterance)
	}
	samples := make([]int16, len(info.Data)/2)
	for i := range samples {
		samples[i] = int16(binary.LittleEndian.Uint16(info.Data[2*i:]))
	}
	return samples, nil
}
