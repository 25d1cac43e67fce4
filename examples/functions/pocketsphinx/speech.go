package pocketsphinx

import "math"

// A recogniser finds words in everything, and is sure of some of them: in noise that swells, in a tone, in a siren. So an
// utterance is heard only if it sounds like a voice: some of it is voiced, which noise never is; not all of it is
// perfectly periodic or one narrow band, as tones are, those that glide included; and its level moves, as that of
// syllables does.
const (
	frame     = sampleHz * 40 / 1000 // long enough for two periods of the lowest voice
	frameStep = sampleHz * 20 / 1000
	shortest  = sampleHz / 400 // periods of a voice, in samples: 400 Hz to 80 Hz
	longest   = sampleHz / 80

	voicedFrom  = 0.6  // autocorrelation of a voiced frame
	perfectFrom = 0.97 // that of a tone
	narrowFrom  = 0.9  // share of a narrow frame's energy in its strongest band
	leastVoiced = 0.15 // share of the loud frames
	mostPerfect = 0.5
	mostNarrow  = 0.6
	leastSwing  = 0.15 // deviation of the loud frames' amplitudes, of their mean
	loudFrom    = 0.1  // of the loudest frame's amplitude
	leastLoud   = 50   // amplitude below which nothing is heard
	preEmphasis = 0.97
)

// speech reports whether samples can be speech.
func speech(samples []int16) bool { return traitsOf(samples).voice() }

// traits are what tells a voice from other sounds. All are 0 if there is nothing to be heard.
type traits struct {
	voiced, perfect, narrow float64 // shares of the loud frames
	swing                   float64 // how much their level moves
}

func (t traits) voice() bool {
	return t.voiced >= leastVoiced && t.perfect <= mostPerfect && t.narrow <= mostNarrow && t.swing >= leastSwing
}

func traitsOf(samples []int16) traits {
	x := make([]float64, len(samples))
	for i := 1; i < len(samples); i++ {
		// Without its low end, rumble is not taken for a voice.
		x[i] = float64(samples[i]) - preEmphasis*float64(samples[i-1])
	}
	var loudest float64
	var levels []float64
	for at := 0; at+frame+longest <= len(x); at += frameStep {
		var sum float64
		for _, v := range samples[at : at+frame] {
			sum += float64(v) * float64(v)
		}
		level := math.Sqrt(sum / frame)
		loudest = max(loudest, level)
		levels = append(levels, level)
	}
	var t traits
	var loud, sum, squares float64
	for i, level := range levels {
		if level < leastLoud || level < loudFrom*loudest {
			continue
		}
		loud++
		sum += level
		squares += level * level
		at := i * frameStep
		r := periodicity(x[at : at+frame+longest])
		if r >= voicedFrom {
			t.voiced++
		}
		if r >= perfectFrom {
			t.perfect++
		}
		if narrowness(x[at:at+bandFrame]) >= narrowFrom {
			t.narrow++
		}
	}
	if loud == 0 {
		return traits{}
	}
	mean := sum / loud
	return traits{t.voiced / loud, t.perfect / loud, t.narrow / loud, math.Sqrt(max(0, squares/loud-mean*mean)) / mean}
}

// periodicity returns the greatest normalised autocorrelation of a frame over the periods that a voice can have.
func periodicity(x []float64) float64 {
	var own float64
	for _, v := range x[:frame] {
		own += v * v
	}
	var best float64
	for lag := shortest; lag <= longest; lag++ {
		var product, other float64
		for i, v := range x[:frame] {
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
