package pocketsphinx

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/google/go-cmp/cmp"
)

// follow hears samples in pieces, and returns what was understood at the end and on the way.
func follow(t *testing.T, l *Live, samples []int16) (voice.Transcript, []string) {
	t.Helper()
	u, err := l.Begin()
	if err != nil {
		t.Fatal(err)
	}
	var partials []string
	for at := 0; at < len(samples); at += sampleHz / 10 {
		if err := u.Add(samples[at:min(at+sampleHz/10, len(samples))]); err != nil {
			t.Fatal(err)
		}
		if text := u.Text(); len(partials) == 0 || text != partials[len(partials)-1] {
			partials = append(partials, text)
		}
	}
	heard, err := u.End()
	if err != nil {
		t.Fatal(err)
	}
	return heard, partials
}

func openLive(t *testing.T) *Live {
	t.Helper()
	l, err := OpenLive(ModelDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// TestLive hears words before the end, and others as well as before after an utterance that was dropped.
func TestLive(t *testing.T) {
	l := openLive(t)
	heard, partials := follow(t, l, question(t, "q09"))
	if want := "what is the capital of france"; heard.Text != want || heard.Confidence < 0.5 || heard.Confidence > 1 {
		t.Errorf("heard %+v, want %q", heard, want)
	}
	right := func(text string) bool {
		return text != "" && text != heard.Text && strings.HasPrefix(heard.Text, text+" ")
	}
	if !slices.ContainsFunc(partials, right) {
		t.Errorf("on the way it understood %q", partials)
	}
	u, err := l.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Add(question(t, "q19")[:sampleHz/2]); err != nil {
		t.Fatal(err)
	}
	if err := u.Drop(); err != nil {
		t.Error(err)
	}
	if heard, _ := follow(t, l, question(t, "q19")); heard.Text != "good morning" {
		t.Errorf("after one that was dropped it heard %+v", heard)
	}
}

// TestLive_NoSpeech gives no words for what is no voice.
func TestLive_NoSpeech(t *testing.T) {
	l := openLive(t)
	for name, samples := range map[string][]int16{
		"nothing":    {},
		"one sample": {1},
		"silence":    make([]int16, 2*sampleHz),
		"loud noise": noise(2*time.Second, 8000),
	} {
		if got, _ := follow(t, l, samples); got != (voice.Transcript{}) {
			t.Errorf("%s: heard %+v, want no words and confidence 0", name, got)
		}
	}
}

// TestLive_NothingOfOtherSessions: what a new one hears does not depend on what one before it heard.
func TestLive_NothingOfOtherSessions(t *testing.T) {
	first, _ := follow(t, openLive(t), question(t, "q07"))
	busy := openLive(t)
	follow(t, busy, noise(3*time.Second, 8000))
	follow(t, busy, question(t, "q19"))
	again, _ := follow(t, openLive(t), question(t, "q07"))
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("another session heard otherwise: %s", diff)
	}
}

func TestClose(t *testing.T) {
	l := openLive(t)
	l.Close()
	l.Close()
	if _, err := l.Begin(); err == nil {
		t.Error("a closed decoder begins")
	}
}

// BenchmarkLastSample takes the time from the last sample of a question of four seconds to what was understood.
func BenchmarkLastSample(b *testing.B) {
	samples := recording(b, questions+"/q01.wav")
	b.Run("whole", func(b *testing.B) {
		d, err := Open(ModelDir)
		if err != nil {
			b.Fatal(err)
		}
		defer d.Close()
		for b.Loop() {
			if _, err := d.Hear(samples); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("live", func(b *testing.B) {
		l, err := OpenLive(ModelDir)
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		for b.Loop() {
			b.StopTimer()
			u, err := l.Begin()
			if err != nil {
				b.Fatal(err)
			}
			if err := u.Add(samples); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if _, err := u.End(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
