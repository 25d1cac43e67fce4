package pocketsphinx

import (
	"math"
	"math/rand/v2"
	"testing"
)

// sweep returns a second of a sound whose pitch goes from one frequency to another, over and over.
func sweep(from, to, seconds float64, wave func(phase, hz float64) float64, level func(second float64) float64) []int16 {
	samples := make([]int16, sampleHz)
	var phase float64
	for i := range samples {
		at := float64(i) / sampleHz
		hz := from * math.Pow(to/from, math.Mod(at, seconds)/seconds)
		phase += 2 * math.Pi * hz / sampleHz
		samples[i] = int16(6000 * wave(phase, hz) * level(at))
	}
	return samples
}

// TestSpeech_Sweeps: a tone that glides is no voice, at whatever speed. What has harmonics as a voice has them, and moves
// its level as well, can't be told from one: the log says how much of that passes.
func TestSpeech_Sweeps(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	sine := func(phase, _ float64) float64 { return math.Sin(phase) }
	noisy := func(phase, _ float64) float64 { return math.Sin(phase) + 0.1*random.NormFloat64() }
	saw := func(phase, hz float64) (v float64) {
		for h := 1.0; h < 40 && h*hz < sampleHz/2; h++ {
			v += math.Sin(h*phase) / h
		}
		return v
	}
	steady := func(float64) float64 { return 1 }
	swelling := func(second float64) float64 { return 0.5 - 0.5*math.Cos(2*math.Pi*4*second) }
	for _, tt := range []struct {
		name  string
		wave  func(phase, hz float64) float64
		level func(float64) float64
		most  int // that may pass for a voice
	}{
		{"tone", sine, steady, 0},
		{"tone that swells", sine, swelling, 0},
		{"tone in noise", noisy, steady, 0},
		{"tone in noise that swells", noisy, swelling, 5},
		{"saw", saw, steady, 0},
		{"saw that swells", saw, swelling, 5},
	} {
		var all, passed int
		for _, band := range [][2]float64{{100, 400}, {1000, 100}, {200, 4000}, {500, 1500}, {2000, 3000}} {
			for _, seconds := range []float64{0.1, 0.3, 1} {
				all++
				s := traitsOf(sweep(band[0], band[1], seconds, tt.wave, tt.level))
				if s.voice() {
					passed++
					t.Logf("%s: %v Hz to %v Hz in %v s passes: %+.2v", tt.name, band[0], band[1], seconds, s)
				}
			}
		}
		t.Logf("%s: %d of %d pass for a voice", tt.name, passed, all)
		if passed > tt.most {
			t.Errorf("%s: %d of %d sweeps are taken for speech, want at most %d", tt.name, passed, all, tt.most)
		}
	}
}
