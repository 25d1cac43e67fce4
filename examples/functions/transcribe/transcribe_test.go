package main

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/google/go-cmp/cmp"
)

// model is the decoder of all tests: it takes a second to load.
var model = sync.OnceValues(func() (*decoder, error) { return openDecoder(modelDir) })

func hear(t *testing.T, samples []int16) voice.Transcript {
	t.Helper()
	d, err := model()
	if err != nil {
		t.Fatal(err)
	}
	words, err := d.decode(samples)
	if err != nil {
		t.Fatal(err)
	}
	return transcript(words)
}

func question(t *testing.T, name string) []int16 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../voice/questions", name+".wav"))
	if err != nil {
		t.Fatal(err)
	}
	samples, err := utterance(b)
	if err != nil {
		t.Fatal(err)
	}
	return samples
}

func TestSpeech(t *testing.T) {
	for name, want := range map[string]string{
		"q09": "what is the capital of france",
		"q19": "good morning",
	} {
		got := hear(t, question(t, name))
		if got.Text != want {
			t.Errorf("%s: heard %q, want %q", name, got.Text, want)
		}
		if got.Confidence < 0.5 || got.Confidence > 1 {
			t.Errorf("%s: confidence %v of words that are right", name, got.Confidence)
		}
	}
}

// TestEachUtteranceAlone hears the same utterance before and after others, loud and long ones too.
func TestEachUtteranceAlone(t *testing.T) {
	first := hear(t, question(t, "q08"))
	hear(t, noise(3*time.Second, 8000))
	hear(t, question(t, "q19"))
	if diff := cmp.Diff(first, hear(t, question(t, "q08"))); diff != "" {
		t.Errorf("the same utterance was heard otherwise after others: %s", diff)
	}
}

func TestNoSpeech(t *testing.T) {
	for name, samples := range map[string][]int16{
		"nothing":     {},
		"one sample":  {1},
		"silence":     make([]int16, 2*sampleHz),
		"quiet noise": noise(2*time.Second, 100),
		"loud noise":  noise(2*time.Second, 8000),
	} {
		if got := hear(t, samples); got != (voice.Transcript{}) {
			t.Errorf("%s: heard %+v, want no words and confidence 0", name, got)
		}
	}
}

// noise returns white noise of a length and an amplitude, the same each time.
func noise(dur time.Duration, amplitude int32) []int16 {
	samples := make([]int16, int(dur.Seconds()*sampleHz))
	x := uint32(1)
	for i := range samples {
		x = x*1664525 + 1013904223
		samples[i] = int16(int32(int16(x>>16)) * amplitude >> 15)
	}
	return samples
}

func TestUtterance(t *testing.T) {
	file := func(hz, channels int, data []byte) []byte {
		return append(wav.Header(hz, channels, int64(len(data))), data...)
	}
	got, err := utterance(file(sampleHz, 1, []byte{1, 0, 0xff, 0xff, 0, 0x80}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int16{1, -1, -32768}, got); diff != "" {
		t.Error(diff)
	}
	for _, tt := range []struct {
		name string
		file []byte
		says string
	}{
		{"not a wav", []byte("OggS and more of that"), "Ogg"},
		{"nothing", nil, "0 bytes"},
		{"rate", file(44_100, 1, make([]byte, 8)), "44100 Hz with 1 channels"},
		{"stereo", file(sampleHz, 2, make([]byte, 8)), "16000 Hz with 2 channels"},
		{"too long", file(sampleHz, 1, make([]byte, 2*sampleHz*121)), "2m1s"},
		{"8 bits", eightBits(file(sampleHz, 1, make([]byte, 8))), "8 bits"},
	} {
		if _, err := utterance(tt.file); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want functions.ErrInvalid that says %q", tt.name, err, tt.says)
		}
	}
}

func eightBits(file []byte) []byte {
	binary.LittleEndian.PutUint16(file[34:], 8)
	return file
}

func TestTranscript(t *testing.T) {
	for _, tt := range []struct {
		name string
		path []word
		want voice.Transcript
	}{
		{"nothing", nil, voice.Transcript{}},
		{"marks only", []word{{"<s>", 1}, {"<sil>", 1}, {"[NOISE]", 1}, {"++UH++", 0.5}, {"</s>", 1}}, voice.Transcript{}},
		{"words", []word{{"<s>", 1}, {"good", 0.5}, {"<sil>", 0.1}, {"morning", 1}, {"</s>", 1}}, voice.Transcript{Text: "good morning", Confidence: 0.75}},
		{"pronunciation", []word{{"the(2)", 0.5}, {"o'clock", 0.5}}, voice.Transcript{Text: "the o'clock", Confidence: 0.5}},
		{"rounding of logarithms", []word{{"yes", 1.0001}}, voice.Transcript{Text: "yes", Confidence: 1}},
	} {
		if diff := cmp.Diff(tt.want, transcript(tt.path)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestMissingModelSaysWhatToInstall(t *testing.T) {
	_, err := openDecoder(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "apt-get install") {
		t.Errorf("got %v, want the command that installs the model", err)
	}
}
