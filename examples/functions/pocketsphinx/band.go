package pocketsphinx

import "math"

const (
	bandFrame = 256 // 16 ms: in less time than that, even a quick glide stays near one frequency
	bandSide  = 3   // bins of 62.5 Hz on either side of the strongest: what the window smears, and some glide
)

// hann is the window, and cosines one period of a cosine: the two tables of narrowness.
var hann, cosines = func() (w, c [bandFrame]float64) {
	for i := range w {
		c[i] = math.Cos(2 * math.Pi * float64(i) / bandFrame)
		w[i] = 0.5 - 0.5*c[i]
	}
	return w, c
}()

// narrowness returns the share of the energy of bandFrame samples that lies in the band around their strongest frequency:
// almost all for one tone, at rest or gliding; less for a voice, which has formants and many harmonics.
func narrowness(x []float64) float64 {
	var windowed [bandFrame]float64
	for i, w := range hann {
		windowed[i] = w * x[i]
	}
	var power [bandFrame / 2]float64
	var total float64
	strongest := 0
	for k := range power {
		var re, im float64
		for i, v := range windowed {
			at := k * i % bandFrame
			re += v * cosines[at]
			im += v * cosines[(at+bandFrame/4)%bandFrame]
		}
		power[k] = re*re + im*im
		total += power[k]
		if power[k] > power[strongest] {
			strongest = k
		}
	}
	if total == 0 {
		return 0
	}
	var band float64
	for _, p := range power[max(0, strongest-bandSide):min(len(power), strongest+bandSide+1)] {
		band += p
	}
	return band / total
}
