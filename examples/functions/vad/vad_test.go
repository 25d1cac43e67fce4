package main

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/sdktest"
)

var chain = sdk.MustDefine("activity", func(s *sdk.Steps, in sdk.Val[sdk.Stream[sdk.Audio]]) sdk.Val[sdk.Stream[voice.Speech]] {
	return sdk.Call(s, voice.VAD, in)
})

func file(hz int, samples []int16) []byte {
	b := wav.Header(hz, 1, int64(2*len(samples)))
	for _, v := range samples {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	return b
}

func run(t *testing.T, blobs *sdktest.Blobs, files ...[]byte) ([]voice.Speech, error) {
	t.Helper()
	var in []sdk.Audio
	for _, f := range files {
		in = append(in, sdk.Audio{Blob: blobs.Blob(wav.MediaType, f)})
	}
	out, err := sdktest.Run(t, chain, sdk.StreamOf(slices.Values(in)), blobs, sdktest.Bind(voice.VAD, vad))
	if err != nil {
		return nil, err
	}
	var got []voice.Speech
	for s, err := range out {
		if err != nil {
			return got, err
		}
		got = append(got, s)
	}
	return got, nil
}

// TestVAD: the parts of an utterance are files that, one after the other, play it.
func TestVAD(t *testing.T) {
	stream := add(join(silence(1000), talk(950, 5000), silence(1000)), noise(2950, 10))
	var files [][]byte
	for piece := range slices.Chunk(stream, 100*ms) {
		files = append(files, file(16000, piece))
	}
	blobs := &sdktest.Blobs{}
	got, err := run(t, blobs, files...)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) < 3 || got[0].Kind != voice.Onset || got[0].At != 760*time.Millisecond || got[len(got)-1].Kind != voice.End {
		t.Fatalf("got %+v", got)
	}
	at := got[0].At
	var heard []byte
	for i, s := range got {
		info, err := wav.Parse(blobs.Data(t, s.Audio.Blob))
		if err != nil || s.At != at || s.Audio.Dur != info.Dur || i > 0 && i < len(got)-1 && s.Kind != voice.Sound {
			t.Fatalf("part %d is %+v, %v; want one at %s", i, s, err, at)
		}
		at += info.Dur
		heard = append(heard, info.Data...)
	}
	if want := file(16000, stream)[44:][760*ms*2:]; len(heard) < 1500*ms*2 || string(heard) != string(want[:len(heard)]) {
		t.Error("the parts do not play the utterance")
	}
}

func TestVAD_Refuses(t *testing.T) {
	for want, f := range map[string][]byte{
		"put the function resample in front": file(48000, silence(10)),
		"not a wav file":                     []byte("hello"),
	} {
		_, err := run(t, &sdktest.Blobs{}, file(16000, silence(10)), f)
		if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), "audio 1 of the stream") || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
