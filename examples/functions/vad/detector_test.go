package main

import (
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/examples/functions/voice/pcm"
	"github.com/catenary-run/catenary/functions/wav"
)

const ms = pcm.SampleHz / 1000

// spoken is one utterance, in ms of the stream.
type spoken struct{ from, to int }

// detect feeds samples in pieces of n and returns the utterances. It fails the test if the parts are in no right order,
// or their samples are not those of the stream where they say that they begin.
func detect(t *testing.T, samples []int16, n int) (all []spoken) {
	t.Helper()
	d := newDetector()
	var parts []part
	for piece := range slices.Chunk(samples, n) {
		parts = append(parts, d.add(piece)...)
	}
	parts = append(parts, d.end()...)
	open, next := false, int64(0)
	for i, p := range parts {
		if open == (p.kind == voice.Onset) || open && p.at != next || p.at < next {
			t.Fatalf("part %d is %s at %d; open is %v, the one before ended at %d", i, p.kind, p.at, open, next)
		}
		next = p.at + int64(len(p.samples))
		if !slices.Equal(p.samples, samples[p.at:next]) {
			t.Fatalf("part %d has other samples than the stream", i)
		}
		open = p.kind != voice.End
		if p.kind == voice.Onset {
			all = append(all, spoken{from: int(p.at) / ms})
		}
		all[len(all)-1].to = int(next) / ms
	}
	if open {
		t.Fatal("the last utterance has no end")
	}
	return all
}

// wave makes ms of samples of a func of the sample's number.
func wave(length int, f func(i int) float64) []int16 {
	samples := make([]int16, length*ms)
	for i := range samples {
		samples[i] = int16(max(-32768, min(32767, f(i))))
	}
	return samples
}

func silence(length int) []int16 { return make([]int16, length*ms) }

func noise(length int, rms float64) []int16 {
	random := rand.New(rand.NewPCG(3, 4))
	return wave(length, func(int) float64 { return (random.Float64() - 0.5) * math.Sqrt(12) * rms })
}

// talk is like speech: syllables of 150 ms with dips of 50 ms between them.
func talk(length int, amplitude float64) []int16 {
	return wave(length, func(i int) float64 {
		if i/ms%200 >= 150 {
			amplitude := amplitude / 100
			return amplitude * math.Sin(2*math.Pi*180*float64(i)/pcm.SampleHz)
		}
		return amplitude * math.Sin(2*math.Pi*180*float64(i)/pcm.SampleHz)
	})
}

func add(a, b []int16) []int16 {
	sum := slices.Clone(a)
	for i := range min(len(a), len(b)) {
		sum[i] += b[i]
	}
	return sum
}

func join(parts ...[]int16) []int16 { return slices.Concat(parts...) }

// questions returns the questions of the voice example.
func questions(t *testing.T) map[string][]int16 {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "voice", "questions", "*.wav"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no questions: %v", err)
	}
	all := map[string][]int16{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		info, err := wav.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		var samples []int16
		for i := 0; i < len(info.Data); i += 2 {
			samples = append(samples, int16(uint16(info.Data[i])|uint16(info.Data[i+1])<<8))
		}
		all[filepath.Base(file)] = samples
	}
	return all
}

// loudPart returns where a recording is above an amplitude first and last, in ms.
func loudPart(samples []int16, above int16) (from, to int) {
	loud := func(v int16) bool { return v > above || v < -above }
	from = slices.IndexFunc(samples, loud)
	to = len(samples)
	for to > from && !loud(samples[to-1]) {
		to--
	}
	return from / ms, to / ms
}

// TestDetector_EveryQuestion is found as one utterance, whole, in silence and in noise 20 dB below it and more.
func TestDetector_EveryQuestion(t *testing.T) {
	for name, question := range questions(t) {
		from, to := loudPart(question, 600)
		for hum, rms := range map[string]float64{"silence": 0, "a loud room": 100} {
			const before, after = 3000, 1000
			stream := join(silence(before), question, silence(after))
			stream = add(stream, noise(len(stream)/ms, rms))
			got := detect(t, stream, 20*ms)
			if len(got) != 1 || got[0].from > before+from-20 || got[0].from < before+from-500 || got[0].to < before+to || got[0].to > before+to+800 {
				t.Errorf("%s in %s: got %v, want one around %d to %d", name, hum, got, before+from, before+to)
			}
		}
	}
}

func TestDetector(t *testing.T) {
	for name, tc := range map[string]struct {
		stream []int16
		want   []spoken // within 20 and 40 ms
	}{
		"nothing":                    {nil, nil},
		"silence":                    {silence(5000), nil},
		"speech in silence":          {join(silence(1000), talk(950, 5000), silence(1000)), []spoken{{760, 2350}}},
		"speech at once":             {join(talk(950, 5000), silence(1000)), []spoken{{0, 1350}}},
		"speech to the end":          {join(silence(1000), talk(955, 5000)), []spoken{{760, 1955}}},
		"a pause of 350 ms":          {join(silence(1000), talk(950, 5000), silence(350), talk(950, 5000), silence(1000)), []spoken{{760, 3650}}},
		"a pause of 2 s":             {join(silence(1000), talk(950, 5000), silence(2000), talk(950, 5000), silence(1000)), []spoken{{760, 2350}, {3710, 5300}}},
		"a pause of 450 ms":          {join(silence(1000), talk(950, 5000), silence(450), talk(950, 5000), silence(1000)), []spoken{{760, 2350}, {2360, 3750}}},
		"a click":                    {join(silence(1000), wave(30, func(int) float64 { return 20000 }), silence(2000)), nil},
		"many clicks":                {slices.Concat(slices.Repeat([][]int16{silence(200), wave(10, func(int) float64 { return 20000 })}, 30)...), nil},
		"40 ms":                      {join(silence(1000), talk(40, 5000), silence(1000)), nil},
		"a whisper below 56 dB":      {join(silence(1000), talk(950, 60), silence(1000)), nil},
		"a microphone's zero":        {wave(4000, func(int) float64 { return 3000 }), nil},
		"rumble":                     {wave(4000, func(i int) float64 { return 500 * math.Sin(2*math.Pi*10*float64(i)/pcm.SampleHz) }), nil},
		"faint noise":                {noise(5000, 200), nil},
		"speech in noise":            {add(join(silence(4000), talk(950, 5000), silence(3000)), noise(7950, 300)), []spoken{{3760, 5350}}},
		"quieter after a loud noise": {join(noise(6000, 2000), silence(3500), talk(950, 600), silence(1000))[6000*ms:], []spoken{{3260, 4850}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := detect(t, tc.stream, 20*ms)
			ok := len(got) == len(tc.want)
			for i := range min(len(got), len(tc.want)) {
				ok = ok && got[i].from >= tc.want[i].from-20 && got[i].from <= tc.want[i].from+20 && got[i].to >= tc.want[i].to-40 && got[i].to <= tc.want[i].to+40
			}
			if !ok {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// TestDetector_PiecesMakeNoDifference to where utterances begin and end.
func TestDetector_PiecesMakeNoDifference(t *testing.T) {
	all := questions(t)
	for _, name := range []string{"q01.wav", "q04.wav", "m17.wav", "n07.wav"} {
		question := all[name]
		stream := add(join(silence(3000), question, silence(700), question, silence(800)), noise(3000+1500+2*len(question)/ms, 40))
		want := detect(t, stream, len(stream))
		for _, n := range []int{37, frame - 1, frame, frame + 1, 7 * frame, 16001} {
			if got := detect(t, stream, n); !slices.Equal(got, want) {
				t.Errorf("%s in pieces of %d: %v, as a whole %v", name, n, got, want)
			}
		}
	}
}

// TestDetector_TellsAtOnce: an onset is told 80 ms after it, the end 400 ms after the speech, and in between each piece
// gives one.
func TestDetector_TellsAtOnce(t *testing.T) {
	d := newDetector()
	stream := join(silence(1000), talk(1000, 5000), silence(1000))
	at := map[string][]int{}
	time := 0
	for piece := range slices.Chunk(stream, 20*ms) {
		time += 20
		for _, p := range d.add(piece) {
			at[p.kind] = append(at[p.kind], time)
		}
	}
	onset, end, sound := at[voice.Onset], at[voice.End], at[voice.Sound]
	if len(onset) != 1 || onset[0] > 1100 || len(end) != 1 || end[0] > 2400 || len(sound) != (end[0]-onset[0])/20-1 {
		t.Errorf("told at %v", at)
	}
}

// TestDetector_EndsWhatIsTooLong after 30 s, and what goes on is another utterance that begins where that one ended.
func TestDetector_EndsWhatIsTooLong(t *testing.T) {
	got := detect(t, join(silence(1000), talk(40_000, 5000), silence(1000)), 20*ms)
	if len(got) != 2 || got[0].to-got[0].from != 30_000 || got[1].from != got[0].to {
		t.Errorf("got %v, want one of 30 s and the rest", got)
	}
}

// TestDetector_FluentSpeech: all questions without the silence around them are spoken without a pause for a minute and
// more; nothing but the limit ends an utterance.
func TestDetector_FluentSpeech(t *testing.T) {
	all := questions(t)
	for _, rms := range []float64{0, 30, 100} {
		stream := silence(2000)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			from, to := loudPart(all[name], 600)
			stream = append(stream, all[name][from*ms:to*ms]...)
		}
		length := len(stream) / ms
		stream = join(stream, silence(1000))
		got := detect(t, add(stream, noise(len(stream)/ms, rms)), 20*ms)
		for i, s := range got {
			if last := i == len(got)-1; !last && s.to-s.from != 30_000 || last && s.to < length || i > 0 && s.from-got[i-1].to > 100 {
				t.Errorf("noise of %v: utterance %d of %d, of %d ms of speech, is %v", rms, i, len(got), length, s)
			}
		}
	}
}

// TestDetector_GetsUsedToNoise: a fan is no speech after 3 s, whether it was there at first or was switched on.
func TestDetector_GetsUsedToNoise(t *testing.T) {
	for name, stream := range map[string][]int16{
		"at first": join(noise(8000, 2000), add(noise(8000, 2000), join(silence(2000), talk(950, 20000), silence(2000)))),
		"later":    join(silence(2000), noise(8000, 2000), add(noise(6000, 2000), join(silence(2000), talk(950, 20000), silence(2000)))),
	} {
		got := detect(t, stream, 20*ms)
		if len(got) != 2 || got[0].to-got[0].from > 4000 || got[1].to-got[1].from > 2000 {
			t.Errorf("%s: got %v, want the noise for less than 4 s, and the speech", name, got)
		}
	}
}

// TestDetector_IsBounded: hours of silence leave no more behind than seconds.
func TestDetector_IsBounded(t *testing.T) {
	d := newDetector()
	for range 1000 {
		d.add(make([]int16, 1600))
		if len(d.held) > preRoll*frame || cap(d.held) > 4*preRoll*frame || cap(d.rest) > 4000 {
			t.Fatalf("%d samples are held, with room for %d and %d", len(d.held), cap(d.held), cap(d.rest))
		}
	}
}

// BenchmarkDetector hears one second in pieces of 20 ms.
func BenchmarkDetector(b *testing.B) {
	d := newDetector()
	second := join(talk(500, 5000), silence(500))
	b.ReportAllocs()
	for b.Loop() {
		for piece := range slices.Chunk(second, 20*ms) {
			d.add(piece)
		}
	}
}
