package pcm

import "encoding/binary"

// Resampler turns the 16-bit samples of a stream into mono ones at [SampleHz]. What comes out does not depend on how the
// input is cut into pieces.
type Resampler struct {
	hz       int
	up, down int // up outputs take as long as down inputs, in lowest terms
	bank     bank

	in    []float32 // mono inputs that are still needed, from the first that the next output needs
	phase int       // where the next output lies after input half-1 of in, in parts of up
}

// blockFrames is how many frames are converted at a time: so many fit into the fast caches, and an hour needs no more.
const blockFrames = 2048

// NewResampler returns a resampler of a stream at hz, a rate that [Read] takes.
func NewResampler(hz int) *Resampler {
	r := &Resampler{hz: hz}
	shared := gcd(hz, SampleHz)
	r.up, r.down = SampleHz/shared, hz/shared
	if r.up != r.down {
		r.bank = newBank(r.up, r.down)
		r.in = make([]float32, r.bank.half-1, 2*r.bank.half+blockFrames) // before the beginning it was silent
	}
	return r
}

// SampleHz returns the rate of the input.
func (r *Resampler) SampleHz() int { return r.hz }

// Add appends to dst what the next samples of the input become, and returns it. data is as in wav.Info. What depends on
// samples still to come is left for the next call.
func (r *Resampler) Add(dst []int16, data []byte, channels int) []int16 {
	frame := 2 * channels
	for len(data) >= frame {
		block := data[:min(len(data)/frame, blockFrames)*frame]
		data = data[len(block):]
		r.in = appendMono(r.in, block, channels)
		dst = r.convert(dst)
	}
	return dst
}

// Flush appends to dst what is left at the end of the input, and returns it. After it the resampler is used no more.
func (r *Resampler) Flush(dst []int16) []int16 {
	r.in = append(r.in, make([]float32, r.bank.half)...) // after the end it is silent
	return r.convert(dst)
}

// convert appends the outputs whose inputs are all there, and drops the inputs that no later one needs.
func (r *Resampler) convert(dst []int16) []int16 {
	if r.up == r.down {
		for _, v := range r.in {
			dst = append(dst, round(v))
		}
		r.in = r.in[:0]
		return dst
	}
	at, width, intervals := 0, 2*r.bank.half, len(r.bank.rows)-1
	for at+width <= len(r.in) {
		row, rest := r.phase*intervals/r.up, r.phase*intervals%r.up
		v := dot(r.bank.rows[row], r.in[at:])
		if rest > 0 {
			next := dot(r.bank.rows[row+1], r.in[at:])
			v += (next - v) * float32(rest) / float32(r.up)
		}
		dst = append(dst, round(v))
		r.phase += r.down
		at += r.phase / r.up
		r.phase %= r.up
	}
	// at is no more than a step beyond the last place where a filter fitted, and steps are shorter than filters.
	r.in = r.in[:copy(r.in, r.in[at:])]
	return dst
}

// appendMono appends the mean of the channels of each frame.
func appendMono(dst []float32, data []byte, channels int) []float32 {
	switch channels {
	case 1:
		for ; len(data) >= 2; data = data[2:] {
			dst = append(dst, float32(int16(binary.LittleEndian.Uint16(data))))
		}
	case 2:
		for ; len(data) >= 4; data = data[4:] {
			both := binary.LittleEndian.Uint32(data)
			dst = append(dst, float32(int32(int16(both))+int32(int16(both>>16)))/2)
		}
	default:
		for frame := 2 * channels; len(data) >= frame; data = data[frame:] {
			var sum int32
			for c := range channels {
				sum += int32(int16(binary.LittleEndian.Uint16(data[2*c:])))
			}
			dst = append(dst, float32(sum)/float32(channels))
		}
	}
	return dst
}

// round returns the nearest sample.
func round(v float32) int16 {
	if v < 0 {
		return int16(max(-1<<15, v-0.5))
	}
	return int16(min(1<<15-1, v+0.5))
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
