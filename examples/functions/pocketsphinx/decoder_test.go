package pocketsphinx

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/google/go-cmp/cmp"
)

// model is the decoder of all tests: it takes a second to load.
var model = sync.OnceValues(func() (*Decoder, error) { return Open(ModelDir) })

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

// recording returns the samples of a file that is as the decoder wants it.
func recording(t testing.TB, file string) []int16 {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := wav.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	samples := make([]int16, len(info.Data)/2)
	for i := range samples {
		samples[i] = int16(binary.LittleEndian.Uint16(info.Data[2*i:]))
	}
	return samples
}

const questions = "../../voice/questions"

func question(t *testing.T, name string) []int16 {
	t.Helper()
	return recording(t, filepath.Join(questions, name+".wav"))
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
	_, err := Open(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "apt-get install") {
		t.Errorf("got %v, want the command that installs the model", err)
	}
}
