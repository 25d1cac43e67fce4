package spoken

import (
	"bytes"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions/wav"
)

func TestWordErrors(t *testing.T) {
	for _, tt := range []struct {
		said, heard   string
		errors, words int
	}{
		{"a b c", "a b c", 0, 3},
		{"A b, c!", "a B c", 0, 3},
		{"a b c", "a x c", 1, 3},
		{"a b c", "a c", 1, 3},
		{"a b c", "a b b c", 1, 3},
		{"a b c", "", 3, 3},
		{"", "a", 1, 0},
		{"kitten sat in", "sitting sat at in", 2, 3},
	} {
		if e, w := WordErrors(tt.said, tt.heard); e != tt.errors || w != tt.words {
			t.Errorf("WordErrors(%q, %q) = %d, %d, want %d, %d", tt.said, tt.heard, e, w, tt.errors, tt.words)
		}
	}
}

func TestKept(t *testing.T) {
	if kept, words := Kept("The cat and the dog.", "the dog and a cat"); kept != 4 || words != 5 {
		t.Errorf("Kept = %d of %d, want 4 of 5", kept, words)
	}
}

func TestOnTopic(t *testing.T) {
	q := Question{Topic: "cat"}
	for text, want := range map[string]bool{"The cat sleeps.": true, "A catalogue.": false, "Cat!": true} {
		if got := (Answer{Step: "answer", Sentences: []string{text}}).OnTopic(q); got != want {
			t.Errorf("%q: on topic %v, want %v", text, got, want)
		}
	}
	if (Answer{Step: "sorry", Sentences: []string{"cat"}}).OnTopic(q) {
		t.Error("sorry is on no topic")
	}
}

func TestTrim(t *testing.T) {
	sample := func(v int16) []byte { return []byte{byte(v), byte(uint16(v) >> 8)} }
	speech := bytes.Join([][]byte{sample(-700), sample(3), sample(601)}, nil)
	for name, tt := range map[string]struct{ samples, want []byte }{
		"around":  {bytes.Join([][]byte{Silence(time.Millisecond), sample(600), speech, sample(-600), sample(0)}, nil), speech},
		"nothing": {speech, speech},
		"silence": {Silence(time.Second), nil},
		"empty":   {nil, nil},
	} {
		if got := Trim(tt.samples); !bytes.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

func TestSamples(t *testing.T) {
	data := Silence(Piece)
	if len(data) != pieceBytes {
		t.Errorf("%d bytes of silence, want those of a piece: %d", len(data), pieceBytes)
	}
	for name, tt := range map[string]struct {
		hz, channels int
		ok           bool
	}{"fit": {16000, 1, true}, "another rate": {8000, 1, false}, "stereo": {16000, 2, false}} {
		got, err := Samples(append(wav.Header(tt.hz, tt.channels, int64(len(data))), data...))
		if (err == nil) != tt.ok || tt.ok && !bytes.Equal(got, data) {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
	}
	if _, err := Samples([]byte("x")); err == nil {
		t.Error("no wav is no error")
	}
}
