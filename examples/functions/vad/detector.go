package main

import (
	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/examples/functions/voice/pcm"
)

// Times are in frames of 20 ms: long enough for a period of the lowest voice, so that a level does not beat.
const (
	frame = pcm.SampleHz * 20 / 1000

	onsetFrames  = 4              // 80 ms of speech are an onset: a click is shorter, a syllable longer
	onsetWithin  = 6              // in 120 ms, since a syllable may have a stop in it
	preRoll      = 15             // 300 ms before the frame that settles an onset belong to it: soft consonants are quieter than vowels
	hangover     = 20             // 400 ms without speech are the end: the stops within fluent speech take up to 250 ms
	maxUtterance = 30 * 1000 / 20 // what a recogniser must hold is bounded
)

// part is a part of an utterance.
type part struct {
	kind    string
	at      int64 // sample of the stream at which it begins
	samples []int16
}

// detector finds utterances. Where they begin and end does not depend on how the stream is cut into pieces.
type detector struct {
	level level
	rest  []int16 // of a frame that is not whole yet
	seen  int64   // samples in whole frames so far

	recent uint // which of the last frames, the last in bit 0, were speech

	speaking bool
	frames   int     // of the utterance; the quiet ones at its end, too
	quiet    int     // frames without speech at its end
	kind     string  // of the next part
	held     []int16 // samples of the next part; while nobody speaks, what comes before an onset
}

func newDetector() *detector { return &detector{level: newLevel()} }

// add takes the next samples of the stream and returns what is known of utterances by them.
func (d *detector) add(samples []int16) (parts []part) {
	d.rest = append(d.rest, samples...)
	whole := d.rest
	for ; len(whole) >= frame; whole = whole[frame:] {
		parts = d.frame(parts, whole[:frame])
	}
	d.rest = d.rest[:copy(d.rest, whole)]
	if d.speaking && len(d.held) > 0 {
		parts = d.part(parts)
	}
	return parts
}

// end returns what is known at the end of the stream: an utterance that was going on ends with it.
func (d *detector) end() []part {
	if !d.speaking {
		return nil
	}
	d.held = append(d.held, d.rest...)
	d.seen += int64(len(d.rest))
	d.rest = nil
	return d.over(nil)
}

// frame takes one frame.
func (d *detector) frame(parts []part, samples []int16) []part {
	speech := d.level.speech(samples, d.speaking)
	d.seen += frame
	d.held = append(d.held, samples...)
	if !d.speaking {
		if d.onset(speech) {
			d.speaking, d.kind = true, voice.Onset
			d.frames, d.quiet = len(d.held)/frame, 0
		} else if extra := len(d.held) - preRoll*frame; extra > 0 {
			d.held = d.held[:copy(d.held, d.held[extra:])]
		}
		return parts
	}
	d.frames++
	d.quiet++
	if speech {
		d.quiet = 0
	}
	if d.quiet >= hangover || d.frames >= maxUtterance {
		return d.over(parts)
	}
	return parts
}

// onset reports whether a frame, which was speech or not, makes the last ones an onset.
func (d *detector) onset(speech bool) bool {
	d.recent = d.recent << 1 & (1<<onsetWithin - 1)
	if !speech {
		return false
	}
	d.recent |= 1
	count := 0
	for bits := d.recent; bits != 0; bits >>= 1 {
		count += int(bits & 1)
	}
	return count >= onsetFrames
}

// over ends the utterance. What comes next is heard as if it were the beginning of the stream, but for the noise that is
// known: no sample is in two utterances.
func (d *detector) over(parts []part) []part {
	if d.kind == voice.Onset {
		parts = d.part(parts)
	}
	d.kind = voice.End
	parts = d.part(parts)
	d.speaking, d.recent = false, 0
	return parts
}

// part cuts off the next part.
func (d *detector) part(parts []part) []part {
	p := part{kind: d.kind, at: d.seen - int64(len(d.held)), samples: d.held}
	d.held, d.kind = nil, voice.Sound
	return append(parts, p)
}
