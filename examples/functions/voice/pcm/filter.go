package pcm

import "math"

// The filter is a sinc with a Kaiser window: flat to 6.8 kHz, and 70 dB down from 8.5 kHz on (in parts of the lower
// of both rates, 0.425 and 0.53). What lies between is heard faintly, folded to between 7.5 and 8 kHz, where
// recognisers do not listen.
const (
	crossings = 24    // zeros of the sinc on each side: the length of the filter, 3 ms at 16 kHz
	cutoff    = 0.955 // of the lower Nyquist frequency
	beta      = 7.3   // of the window: 75 dB
)

const (
	// maxRows bounds the table of filters. All usual rates need fewer: 44,100 Hz has 160, 11,025 Hz 640.
	maxRows = 1024
	// resolution is the count of filters between two zeros of the sinc when there would be too many: one between two of
	// them is interpolated, and 106 dB right.
	resolution = 512
)

// bank is a polyphase filter: rows[r] weighs the inputs around a place that lies r/(len(rows)-1) of a sample after one
// of them. The last row is the first, one input later: the end of the last interval.
type bank struct {
	rows [][]float32
	half int // inputs on each side
}

// newBank returns the filters for up outputs in the time of down inputs, in lowest terms.
func newBank(up, down int) bank {
	stretch := max(1, float64(down)/float64(up))
	intervals := up
	if up > maxRows {
		intervals = int(math.Ceil(resolution / stretch))
	}
	half := (int(math.Ceil(crossings*stretch)) + 3) &^ 3 // a multiple of 4, so that a row is whole steps of dot
	b := bank{make([][]float32, intervals+1), half}
	for r := range b.rows {
		b.rows[r] = b.row(float64(r)/float64(intervals), cutoff/stretch)
	}
	return b
}

// row returns the filter for a place after input half-1 of the row. Its weights add up to 1: silence that is not at 0
// stays as it is.
func (b bank) row(after, cutoff float64) []float32 {
	weights := make([]float64, 2*b.half)
	var sum float64
	for i := range weights {
		at := float64(i-b.half+1) - after
		weights[i] = sinc(cutoff*at) * kaiser(at/float64(b.half))
		sum += weights[i]
	}
	row := make([]float32, len(weights))
	for i, w := range weights {
		row[i] = float32(w / sum)
	}
	return row
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// kaiser is the window at x, from -1 to 1, up to a factor.
func kaiser(x float64) float64 {
	if x <= -1 || x >= 1 {
		return 0
	}
	return bessel0(beta * math.Sqrt(1-x*x))
}

// bessel0 is the modified Bessel function of the first kind and order 0, by its power series.
func bessel0(x float64) float64 {
	sum, term, y := 1.0, 1.0, x*x/4
	for k := 1.0; term > sum*1e-12; k++ {
		term *= y / (k * k)
		sum += term
	}
	return sum
}

// dot returns the sum of the products of a row and as many inputs:
//
//	for i := range row { sum += row[i] * in[i] }
//
// There are four sums, since one would wait for itself, and eight products a step, since in WASM steps are dear.
func dot(row, in []float32) float32 {
	var a, b, c, d float32
	in = in[:len(row)]
	for len(row) >= 8 && len(in) >= 8 {
		w, x := (*[8]float32)(row), (*[8]float32)(in)
		a += w[0] * x[0]
		b += w[1] * x[1]
		c += w[2] * x[2]
		d += w[3] * x[3]
		a += w[4] * x[4]
		b += w[5] * x[5]
		c += w[6] * x[6]
		d += w[7] * x[7]
		row, in = row[8:], in[8:]
	}
	return (a + b) + (c + d)
}
