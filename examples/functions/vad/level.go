package main

import "math"

const (
	// Speech is 10 dB above the noise where it begins, and goes on until it is less than 6 dB above it.
	overNoise, stillOver = 10.0, 4.0
	// leastSpeech is the power below which nothing is speech: that of an RMS of 50, 56 dB below full scale.
	leastSpeech = 50.0 * 50.0
	// firstNoise is what the noise is taken for until there was time to hear it: that of an RMS of 100. In a place louder
	// than that, the first seconds may be taken for speech; but who speaks at once is heard.
	firstNoise = 100.0 * 100.0
	// blocks of blockFrames are 3 s: nobody speaks so long without a gap, and a noise that has gone on for so long is one.
	blocks, blockFrames = 10, 15
	// highPass keeps what lies below some 100 Hz out: hum, rumble, a microphone's zero.
	highPass = 0.96
)

// level tells frames with speech from noise, by their power. The noise is the least power of the last 3 s, as in R.
// Martin's minimum statistics, so that it follows a fan that is switched on, and is not moved by speech. Of two frames
// the louder counts: a gap in the signal is no silence. It is not smoothed, or the stops within fluent speech, of 50 ms
// and more, would drown in it.
type level struct {
	lastIn, lastOut float64         // of the high-pass filter
	last            float64         // power of the last frame
	least           [blocks]float64 // of each block, the one at next being made
	next, frames    int
}

func newLevel() level {
	l := level{last: firstNoise}
	for i := range l.least {
		l.least[i] = firstNoise
	}
	return l
}

// speech reports whether a frame is speech, given that the one before was or not.
func (l *level) speech(samples []int16, before bool) bool {
	var sum float64
	for _, v := range samples {
		in := float64(v)
		l.lastOut = in - l.lastIn + highPass*l.lastOut
		l.lastIn = in
		sum += l.lastOut * l.lastOut
	}
	power := sum / float64(len(samples))
	over := overNoise
	if before {
		over = stillOver
	}
	speech := power >= leastSpeech && power >= over*l.noise()
	l.learn(power)
	return speech
}

// noise returns the power of the noise.
func (l *level) noise() float64 {
	least := math.Inf(1)
	for _, p := range l.least {
		least = min(least, p)
	}
	return least
}

// learn takes the power of a frame into account.
func (l *level) learn(power float64) {
	louder := max(power, l.last)
	l.last = power
	l.least[l.next] = min(l.least[l.next], louder)
	if l.frames++; l.frames == blockFrames {
		l.frames = 0
		l.next = (l.next + 1) % blocks
		l.least[l.next] = louder
	}
}
