package main

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/sdktest"
)

var chain = sdk.MustDefine("rate", func(s *sdk.Steps, in sdk.Val[sdk.Stream[sdk.Audio]]) sdk.Val[sdk.Stream[sdk.Audio]] {
	return sdk.Call(s, voice.Resample, in)
})

// tone returns frames from to to of a tone of 440 Hz, in each channel.
func tone(hz, channels, from, to int) []byte {
	file := wav.Header(hz, channels, int64(2*channels*(to-from)))
	for i := from; i < to; i++ {
		v := uint16(int16(math.Round(12000 * math.Sin(2*math.Pi*440*float64(i)/float64(hz)))))
		for range channels {
			file = binary.LittleEndian.AppendUint16(file, v)
		}
	}
	return file
}

// run runs the function on a stream of wav files, and returns what each that it sends holds.
func run(t *testing.T, files ...[]byte) ([][]int16, error) {
	t.Helper()
	blobs := &sdktest.Blobs{}
	var in []sdk.Audio
	for _, f := range files {
		in = append(in, sdk.Audio{Blob: blobs.Blob(wav.MediaType, f)})
	}
	out, err := sdktest.Run(t, chain, sdk.StreamOf(slices.Values(in)), blobs, sdktest.Bind(voice.Resample, resample))
	if out == nil {
		return nil, err
	}
	var got [][]int16
	for audio, err := range out {
		if err != nil {
			return got, err
		}
		info, err := wav.Parse(blobs.Data(t, audio.Blob))
		if err != nil {
			t.Fatal(err)
		}
		if info.SampleHz != 16000 || info.Channels != 1 || audio.SampleHz != 16000 || audio.Channels != 1 || audio.Dur != info.Dur {
			t.Errorf("got %d Hz, %d channels, %s; told %d Hz, %d channels, %s", info.SampleHz, info.Channels, info.Dur, audio.SampleHz, audio.Channels, audio.Dur)
		}
		samples := make([]int16, len(info.Data)/2)
		for i := range samples {
			samples[i] = int16(binary.LittleEndian.Uint16(info.Data[2*i:]))
		}
		got = append(got, samples)
	}
	return got, err
}

// TestResample_SendsAsItComes: each item of 20 ms gives one, the end what is left; together they are what the whole
// gives.
func TestResample_SendsAsItComes(t *testing.T) {
	const hz, channels, each, count = 44100, 2, 882, 50
	var files [][]byte
	for i := range count {
		files = append(files, tone(hz, channels, i*each, (i+1)*each))
	}
	got, err := run(t, files...)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := run(t, tone(hz, channels, 0, count*each))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != count+1 || len(whole) != 2 || !slices.Equal(slices.Concat(got...), slices.Concat(whole...)) {
		t.Errorf("%d items became %d, the whole %d; the samples differ: %v", count, len(got), len(whole), !slices.Equal(slices.Concat(got...), slices.Concat(whole...)))
	}
	if n := len(slices.Concat(got...)); n != 16000 {
		t.Errorf("a second became %d samples", n)
	}
	for i, v := range slices.Concat(got...)[50 : 16000-50] {
		if want := 12000 * math.Sin(2*math.Pi*440*float64(i+50)/16000); math.Abs(float64(v)-want) > 20 {
			t.Fatalf("sample %d is %d, want %.0f: a click", i+50, v, want)
		}
	}
}

func TestResample_AnotherRateInTheMiddle(t *testing.T) {
	got, err := run(t, tone(48000, 1, 0, 48000), tone(8000, 2, 0, 4000), tone(16000, 4, 0, 1600))
	if n := len(slices.Concat(got...)); err != nil || n != 16000+8000+1600 {
		t.Errorf("got %d samples, %v; want 25600", n, err)
	}
}

func TestResample_NothingToSay(t *testing.T) {
	for _, files := range [][][]byte{nil, {tone(48000, 1, 0, 0)}, {tone(48000, 1, 0, 0), tone(16000, 1, 0, 0)}} {
		if got, err := run(t, files...); err != nil || len(got) != 0 {
			t.Errorf("of nothing came %d items, %v", len(got), err)
		}
	}
}

func TestResample_Refuses(t *testing.T) {
	for want, file := range map[string][]byte{
		"not a wav file":                     []byte("hello"),
		"got a wav of 7999 Hz":               tone(7999, 1, 0, 10),
		"got a wav of 192001 Hz":             tone(192001, 1, 0, 10),
		"16000 Hz with 9 channels; need 800": tone(16000, 9, 0, 10),
	} {
		got, err := run(t, tone(16000, 1, 0, 160), file)
		if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "audio 1 of the stream") {
			t.Errorf("got %d items, %v; want %q", len(got), err, want)
		}
	}
}
