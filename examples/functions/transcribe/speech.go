package main

import "math"

// A recogniser finds words in everything, and is sure of some of them: in noise that swells, in a tone. So an utterance
// is heard only if it sounds like a voice: some of it is voiced, which noise never is, and not all of it is perfectly
// periodic, as tones are.
const (
	pitchFrame = sampleHz * 40 / 1000 // long enough for two periods of the lowest voice
	pitchStep  = sampleHz * 20 / 1000
	shortest   = sampleHz / 400 // periods of a voice, in samples: 400 Hz to 80 Hz
	longest    = sampleHz / 80

	voicedFrom  = 0.6  // autocorrelation of a voiced frame
	perfectFrom = 0.97 // that of a tone
	leastVoiced = 0.15 // share of the loud frames
	mostPerfect = 0.5
	loudFrom    = 0.1 // of the loudest frame's amplitude
	leastLoud   = 50  // amplitude below which nothing is heard
	preEmphasis = 0.97
)

// speech reports whether samples can be speech.
func speech(samples []int16) bool {
	voiced, perfect := voicing(samples)
	return voiced >= leastVoiced && perfect <= mostPerfect
}

// voicing returns the shares of the loud frames that are voiced, and that are perfectly periodic. Both are 0 if there
// is nothing to be heard.
func voicing(samples []int16) (voiced, perfect float64) {
	x := make([]float64, len(samples))
	for i := 1; i < len(samples); i++ {
		// Without its low end, rumble is not taken for a voice.
		x[i] = float64(samples[i]) - preEmphasis*float64(samples[i-1])
	}
	var loudest float64
	var starts []int
	var levels []float64
	for at := 0; at+pitchFrame+longest <= len(x); at += pitchStep {
		var sum float64
		for _, v := range samples[at : at+pitchFrame] {
			sum += float64(v) * float64(v)
		}
		level := math.Sqrt(sum / pitchFrame)
		loudest = max(loudest, level)
		starts, levels = append(starts, at), append(levels, level)
	}
	var loud, v, p float64
	for i, at := range starts {
		if levels[i] < leastLoud || levels[i] < loudFrom*loudest {
			continue
		}
		loud++
		r := periodicity(x[at : at+pitchFrame+longest])
		if r >= voicedFrom {
			v++
		}
		if r >= perfectFrom {
			p++
		}
	}
	if loud == 0 {
		return 0, 0
	}
	return v / loud, p / loud
}

// periodicity returns the greatest normalised autocorrelation of a frame over the periods that a voice can have.
func periodicity(x []float64) float64 {
	var own float64
	for _, v := range x[:pitchFrame] {
		own += v * v
	}
	var best float64
	for lag := shortest; lag <= longest; lag++ {
		var product, other float64
		for i, v := range x[:pitchFrame] {
			w := x[i+lag]
			product += v * w
			other += w * w
		}
		if product > 0 {
			best = max(best, product/math.Sqrt(own*other))
		}
	}
	return best
}
