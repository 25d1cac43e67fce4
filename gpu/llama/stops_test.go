package llama

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestStops_Pieces: in whatever pieces a text comes, it ends before the word that is complete first.
func TestStops_Pieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab]{0,30}`).Draw(t, "text")
		words := rapid.SliceOfN(rapid.StringMatching(`[ab]{1,5}`), 0, 3).Draw(t, "words")
		want, found := text, false
		for end := range len(text) + 1 { // letter by letter
			at := -1
			for _, word := range words {
				if i := strings.Index(text[:end], word); i >= 0 && (at < 0 || i < at) {
					at = i
				}
			}
			if at >= 0 {
				want, found = text[:at], true
				break
			}
		}
		s, got, stopped := stops{words: words}, "", false
		for left := text; left != "" && !stopped; {
			n := rapid.IntRange(1, len(left)).Draw(t, "piece")
			var out string
			out, stopped = s.add(left[:n])
			got, left = got+out, left[n:]
		}
		if !stopped {
			got += s.rest()
		}
		if got != want || stopped != found {
			t.Fatalf("%q without %q: got %q, %v; want %q, %v", text, words, got, stopped, want, found)
		}
	})
}
