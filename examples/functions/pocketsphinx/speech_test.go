package pocketsphinx

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"
)

func TestSpeech_EveryQuestionIsHeard(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(questions, "*.wav"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no questions: %v", err)
	}
	for _, file := range files {
		samples := recording(t, file)
		// Twice as far from the limits as they need to be: another voice is another voice.
		if s := traitsOf(samples); s.voiced < 2*leastVoiced || s.perfect > mostPerfect/2 || s.narrow > mostNarrow/2 || s.swing < 2*leastSwing {
			t.Errorf("%s: %+.2v", filepath.Base(file), s)
		}
	}
}

func TestSpeech_NoiseAndTonesAreNot(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	swell := func(hz float64, i int) float64 { return 0.5 + 0.5*math.Sin(2*math.Pi*hz*float64(i)/sampleHz) }
	var brown float64
	for name, wave := range map[string]func(i int) float64{
		"silence":            func(int) float64 { return 0 },
		"the lowest bits":    func(int) float64 { return random.NormFloat64() * 2 },
		"white noise":        func(int) float64 { return random.NormFloat64() * 2000 },
		"noise that swells":  func(i int) float64 { return random.NormFloat64() * 6000 * swell(4, i) },
		"noise, slower":      func(i int) float64 { return random.NormFloat64() * 3000 * swell(2, i) },
		"brown noise":        func(int) float64 { brown = 0.99*brown + random.NormFloat64()*300; return brown },
		"a tone":             func(i int) float64 { return 9000 * math.Sin(0.2*float64(i)) },
		"a low tone":         func(i int) float64 { return 9000 * math.Sin(0.05*float64(i)) },
		"a tone that swells": func(i int) float64 { return 9000 * math.Sin(0.1*float64(i)) * swell(4, i) },
		"a tone that rises":  func(i int) float64 { s := float64(i) / sampleHz; return 9000 * math.Sin(2*math.Pi*(200*s+100*s*s)) },
		"a square wave":      func(i int) float64 { return 5000 * float64(1-i/40%2*2) },
		"clicks":             func(i int) float64 { return 20000 * float64(max(0, 1-i%5000)) },
	} {
		samples := make([]int16, 3*sampleHz)
		for i := range samples {
			samples[i] = int16(max(-32000, min(32000, wave(i))))
		}
		if s := traitsOf(samples); s.voice() {
			t.Errorf("%s is taken for speech: %+.2v", name, s)
		}
	}
	if speech(nil) || speech(make([]int16, 10)) {
		t.Error("next to nothing is taken for speech")
	}
}
