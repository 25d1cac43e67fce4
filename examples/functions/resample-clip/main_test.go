package main

import (
	"errors"
	"testing"
	"time"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/sdktest"
)

var chain = sdk.MustDefine("rate", func(s *sdk.Steps, in sdk.Val[sdk.Audio]) sdk.Val[sdk.Audio] {
	return sdk.Call(s, voice.ResampleClip, in)
})

func TestResample(t *testing.T) {
	for _, tc := range []struct{ hz, channels int }{{8000, 1}, {16000, 1}, {16000, 2}, {44100, 2}, {48000, 8}, {192000, 1}} {
		blobs := &sdktest.Blobs{}
		size := 2 * tc.channels * tc.hz
		in := blobs.Audio(t, append(wav.Header(tc.hz, tc.channels, int64(size)), make([]byte, size)...))
		out, err := sdktest.Run(t, chain, in, blobs, sdktest.Bind(voice.ResampleClip, resample))
		if err != nil {
			t.Fatal(err)
		}
		info, err := wav.Parse(blobs.Data(t, out.Blob))
		if err != nil || info.SampleHz != 16000 || info.Channels != 1 || info.Dur != time.Second || out.Dur != time.Second {
			t.Errorf("%+v: got %d Hz, %d channels, %s, %v", tc, info.SampleHz, info.Channels, info.Dur, err)
		}
	}
}

func TestResample_Refuses(t *testing.T) {
	blobs := &sdktest.Blobs{}
	in := blobs.Audio(t, wav.Header(4000, 1, 0))
	if _, err := sdktest.Run(t, chain, in, blobs, sdktest.Bind(voice.ResampleClip, resample)); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("got %v, want invalid", err)
	}
}
