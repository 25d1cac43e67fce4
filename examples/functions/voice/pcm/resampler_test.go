package pcm

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// rates are those of recorders, and three that no table of filters was made for.
var rates = []int{8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000, 15999, 44099, 191999}

// frames returns n frames whose channels are each a func of the time in seconds.
func frames(hz, n int, channels ...func(t float64) float64) []byte {
	var data []byte
	for i := range n {
		for _, c := range channels {
			data = binary.LittleEndian.AppendUint16(data, uint16(int16(math.Round(c(float64(i)/float64(hz))))))
		}
	}
	return data
}

func sine(hz, amplitude float64) func(float64) float64 {
	return func(t float64) float64 { return amplitude * math.Sin(2*math.Pi*hz*t+0.3) }
}

func resample(hz, channels int, data []byte) []int16 {
	r := NewResampler(hz)
	return r.Flush(r.Add(nil, data, channels))
}

// fit returns the amplitude of the sine of hz that is in samples, and the RMS of what is left without it. The edges,
// where the sound begins and ends at once, are left out.
func fit(samples []int16, hz float64) (amplitude, rest float64) {
	samples = samples[200 : len(samples)-200]
	// Whole periods only would be needed for the sums alone; the normal equations need no such care.
	var ss, cc, sc, xs, xc float64
	angle := func(i int) float64 { return 2 * math.Pi * hz * float64(i) / SampleHz }
	for i, v := range samples {
		s, c := math.Sincos(angle(i))
		ss, cc, sc, xs, xc = ss+s*s, cc+c*c, sc+s*c, xs+float64(v)*s, xc+float64(v)*c
	}
	det := ss*cc - sc*sc
	a, b := (xs*cc-xc*sc)/det, (xc*ss-xs*sc)/det
	var left float64
	for i, v := range samples {
		s, c := math.Sincos(angle(i))
		d := float64(v) - a*s - b*c
		left += d * d
	}
	return math.Hypot(a, b), math.Sqrt(left / float64(len(samples)))
}

func db(ratio float64) float64 { return 20 * math.Log10(ratio) }

// TestResampler_KeepsSines: what can be heard at both rates comes out at its frequency, as loud as it was to 0.1 dB, with
// everything else at least 75 dB below.
func TestResampler_KeepsSines(t *testing.T) {
	for _, hz := range rates {
		for _, tone := range []float64{60, 440, 1000, 3400, 6000, 6800} {
			if tone > 0.425*float64(hz) {
				continue
			}
			const loud = 20000
			amplitude, rest := fit(resample(hz, 1, frames(hz, hz/8, sine(tone, loud))), tone)
			if off := math.Abs(db(amplitude / loud)); off > 0.1 {
				t.Errorf("%d Hz: a tone of %g Hz is off by %.2f dB", hz, tone, off)
			}
			if snr := db(amplitude / math.Sqrt2 / rest); snr < 75 {
				t.Errorf("%d Hz: a tone of %g Hz is %.1f dB above the rest, want 75", hz, tone, snr)
			}
		}
	}
}

// TestResampler_KeepsAliasesOut: what 16 kHz can't express is suppressed by 70 dB; it would be heard as another tone.
func TestResampler_KeepsAliasesOut(t *testing.T) {
	for _, hz := range rates {
		for _, tone := range []float64{8500, 9000, 10000, 12000, 15000, 15999, 21000, 40000} {
			if tone >= float64(hz)/2 {
				continue
			}
			const loud = 30000
			out := resample(hz, 1, frames(hz, hz/8, sine(tone, loud)))
			var sum float64
			for _, v := range out[200 : len(out)-200] {
				sum += float64(v) * float64(v)
			}
			left := math.Sqrt(sum/float64(len(out)-400)) * math.Sqrt2
			if left > 0 && db(loud/left) < 70 {
				t.Errorf("%d Hz: a tone of %g Hz is suppressed by %.1f dB, want 70", hz, tone, db(loud/left))
			}
		}
	}
}

// TestResampler_KeepsImagesOut: what comes from a lower rate has nothing above that rate's own limit.
func TestResampler_KeepsImagesOut(t *testing.T) {
	out := resample(8000, 1, frames(8000, 8000, sine(3000, 20000)))
	if image, _ := fit(out, 5000); db(20000/image) < 70 {
		t.Errorf("the image of 3000 Hz at 5000 Hz is only %.1f dB down", db(20000/image))
	}
}

// TestResampler_PiecesMakeNoDifference: not in one sample, wherever the input is cut, between the bytes of no sample.
func TestResampler_PiecesMakeNoDifference(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 9))
	for _, hz := range rates {
		for _, channels := range []int{1, 2, 3, 8} {
			noise := make([]byte, 2*channels*(hz/16))
			for i := range noise {
				noise[i] = byte(random.Uint32())
			}
			want := resample(hz, channels, noise)
			r := NewResampler(hz)
			var got []int16
			for rest := noise; len(rest) > 0; {
				n := min(random.IntN(1+random.IntN(hz/32)), len(rest)/(2*channels)) // none, one, many
				got = r.Add(got, rest[:2*channels*n], channels)
				rest = rest[2*channels*n:]
			}
			if got = r.Flush(got); !slices.Equal(got, want) {
				t.Errorf("%d Hz, %d channels: pieces gave %d samples, the whole %d, and they differ", hz, channels, len(got), len(want))
			}
		}
	}
}

// TestResampler_KeepsTheDuration: every output whose time lies before the end of the input is there, and no other.
func TestResampler_KeepsTheDuration(t *testing.T) {
	for _, hz := range rates {
		for _, n := range []int{0, 1, 2048, 2049, hz + 1} {
			got, want := len(resample(hz, 1, make([]byte, 2*n))), (n*SampleHz+hz-1)/hz
			if got != want {
				t.Errorf("%d frames at %d Hz became %d samples, want %d", n, hz, got, want)
			}
		}
	}
}

func TestResampler_LatencyIsShort(t *testing.T) {
	for _, hz := range rates {
		out := NewResampler(hz).Add(nil, make([]byte, 2*hz/10), 1)
		if missing := SampleHz/10 - len(out); missing > 4*SampleHz/1000 && hz >= SampleHz {
			t.Errorf("%d Hz: of 100 ms the last %d samples wait for more", hz, missing)
		}
	}
}

func TestResampler_MixesChannelsDown(t *testing.T) {
	for _, hz := range []int{16000, 48000} {
		up, down := sine(500, 12000), func(t float64) float64 { return -sine(500, 12000)(t) }
		quiet := func(float64) float64 { return 0 }
		for name, tc := range map[string]struct {
			channels []func(float64) float64
			want     float64
		}{
			"the same twice":       {[]func(float64) float64{up, up}, 12000},
			"one of two":           {[]func(float64) float64{up, quiet}, 6000},
			"one of three":         {[]func(float64) float64{quiet, up, quiet}, 4000},
			"against one another":  {[]func(float64) float64{up, down}, 0},
			"the last of eight":    {[]func(float64) float64{quiet, quiet, quiet, quiet, quiet, quiet, quiet, up}, 1500},
			"the loudest of eight": {slices.Repeat([]func(float64) float64{sine(500, 32767)}, 8), 32767},
		} {
			got, _ := fit(resample(hz, len(tc.channels), frames(hz, hz/2, tc.channels...)), 500)
			if math.Abs(got-tc.want) > 0.01*tc.want+1 {
				t.Errorf("%d Hz, %s: amplitude %.0f, want %.0f", hz, name, got, tc.want)
			}
		}
	}
}

func TestResampler_LeavesItsOwnRateAlone(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	want := []int16{-32768, 32767, 0, -1, 1}
	for range 5000 {
		want = append(want, int16(random.Uint32()))
	}
	var data []byte
	for _, v := range want {
		data = binary.LittleEndian.AppendUint16(data, uint16(v))
	}
	if got := resample(SampleHz, 1, data); !slices.Equal(got, want) {
		t.Error("mono at 16 kHz was changed")
	}
}

// TestResampler_OvershootIsCut: a square wave at full scale overshoots in every filter; it must not wrap round.
func TestResampler_OvershootIsCut(t *testing.T) {
	square := func(t float64) float64 { return 65535*math.Round(math.Mod(t*100, 1)) - 32768 }
	out := resample(48000, 1, frames(48000, 48000, square))
	for i := 100; i < len(out)-100; i++ {
		if at := i % 160; at > 5 && at < 75 && out[i] > -20000 || at > 85 && at < 155 && out[i] < 20000 {
			t.Fatalf("sample %d is %d", i, out[i])
		}
	}
	if !slices.Contains(out, 32767) || !slices.Contains(out, -32768) {
		t.Error("the wave did not reach full scale")
	}
}

// TestResampler_IsBounded: many seconds leave no more behind than one.
func TestResampler_IsBounded(t *testing.T) {
	r := NewResampler(44100)
	second := make([]byte, 4*44100)
	dst := r.Add(nil, second, 2)
	before := cap(r.in)
	for range 5 {
		dst = r.Add(dst[:0], second, 2)
	}
	if cap(r.in) != before {
		t.Errorf("the inputs that are kept grew from %d to %d", before, cap(r.in))
	}
}

// BenchmarkResampler converts one second.
func BenchmarkResampler(b *testing.B) {
	for _, tc := range []struct{ hz, channels int }{{8000, 1}, {16000, 1}, {44100, 2}, {48000, 1}, {48000, 2}, {192000, 2}, {44099, 2}} {
		b.Run(fmt.Sprintf("%dHz/%dch", tc.hz, tc.channels), func(b *testing.B) {
			b.ReportAllocs()
			data := make([]byte, 2*tc.channels*tc.hz)
			r := NewResampler(tc.hz)
			dst := make([]int16, 0, SampleHz+100)
			for b.Loop() {
				dst = r.Add(dst[:0], data, tc.channels)
			}
		})
	}
}

// BenchmarkNewResampler makes the filters, which every stream does once.
func BenchmarkNewResampler(b *testing.B) {
	for _, hz := range []int{11025, 44100, 48000, 191999} {
		b.Run(fmt.Sprintf("%dHz", hz), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				NewResampler(hz)
			}
		})
	}
}
