package sentence

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func split(pieces ...string) []string {
	var s Splitter
	var all []string
	for _, p := range pieces {
		all = append(all, s.Add(p)...)
	}
	return append(all, s.Flush()...)
}

// texts are cut at each bar.
var texts = map[string]string{
	"plain":                     "Grass is green.| Is it?| It is!| Good",
	"lower case":                "grass is green.| is it?| it is!| good",
	"no final stop":             "and so on",
	"nothing":                   "  \n\n\t ",
	"titles":                    "Mr. Smith met Mrs. Jones and Dr. J. R. Watson vs. Prof. Li.| They talked.",
	"initials":                  "George W. Bush and J. K. Rowling read.| Plan B.| The next one failed.",
	"a letter as the last word": "It has vitamin C.| It is good.| So do I.| You too.",
	"latin":                     "Use fruit, e.g. apples, i.e. Malus.| Add pears, etc.| Then cook, ca. 5 minutes.",
	"etc. within":               "Cats, dogs, etc. are pets.",
	"countries":                 "The U.S. Government and the U.K. agree.| He lives in the U.S.| It is large.",
	"hours":                     "At 5 p.m. we eat.| We sleep at 9 p.m.| Then it is dark.",
	"degrees":                   "She has a Ph.D. in maths and a B.Sc. degree.",
	"firms":                     "Apple Inc. Chairman Cook spoke.| He runs Apple Inc.| He said so.",
	"decimals":                  "Pi is 3.14 and it costs 1,000.5 or .5 of it.| Yes.",
	"a number at the end":       "It was 1999.| We danced.| Go 1.26.| It is fast.",
	"a number before a word":    "On the 3. of May we met.",
	"numbers of things":         "See fig. 3 and No. 5 of vol. 2, p. 7, Jan. 5.| No.| It is red.",
	"ordinals":                  "The 1st, 2nd and 3rd.| The 21st.",
	"a list":                    "Fruits:|\n1. Apples are red.|\n2. Pears\n|10. Plums\n|A. One\n|- another",
	"a short list":              "1.\nApples|\nPears",
	"an ellipsis":               "Well... maybe.| Wait...| What?| So… no.| Hmm…| Yes.| Wait...what",
	"many marks":                "What?!| No!!!| Really?...| Yes.",
	"quotations":                `He said "No." and left.| "Yes."| "Why?" she asked.| “So be it.”| ‘Fine.’| (It was.)| [Sic.]| Done.`,
	"brackets":                  "It is big (approx. 5 m.) and old (see p. 5).| So.",
	"emphasis":                  "**It is.**| *Then* _go._| `Yes.`| No.",
	"addresses":                 "Go to example.com or mail a.b@c.org, v1.2.3.| Bye.",
	"a place after a street":    "St. Paul's is near Mt. Everest, not.| Right.",
	"lines":                     "A title|\nThe text goes\non here.|\n\nNext\n\n|and lower",
	"carriage returns":          "A title|\r\n\r\nthe text\r\ngoes on.",
	"a title before a line":     "I met Mr.\nSmith.",
	"white space":               "One.|   \t Two.|\u00a0Three.|\u3000Four",
	"stops alone":               "...",
	"stops first":               "... and?| then.| it went",
	"chinese":                   "你好。|“很好！”|3.14是数。|真的？！|是",
	"japanese":                  "「はい。」|そうです｡|ええ",
	"other scripts":             "यह है।| हाँ।| کیا؟| ہاں۔| да.| Нет",
	"emoji":                     "Great! |😀 Next.| 👍",
	"an apostrophe":             "It's Tom's.| It's fine.| Don't.",
}

// want returns the text without its bars, and the sentences between them.
func want(marked string) (text string, sentences []string) {
	for part := range strings.SplitSeq(marked, "|") {
		if part = fold(part); part != "" {
			sentences = append(sentences, part)
		}
	}
	return strings.ReplaceAll(marked, "|", ""), sentences
}

func TestSplitter(t *testing.T) {
	for name, marked := range texts {
		t.Run(name, func(t *testing.T) {
			text, sentences := want(marked)
			if diff := cmp.Diff(sentences, split(text)); diff != "" {
				t.Errorf("whole (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(sentences, split(strings.Split(text, "")...)); diff != "" {
				t.Errorf("by characters (-want +got):\n%s", diff)
			}
			var bytes []string
			for i := range len(text) {
				bytes = append(bytes, text[i:i+1])
			}
			if diff := cmp.Diff(sentences, split(bytes...)); diff != "" {
				t.Errorf("by bytes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSplitter_IsEarly: a sentence is there as soon as the piece that settles it.
func TestSplitter_IsEarly(t *testing.T) {
	for _, tc := range []struct {
		pieces []string
		first  int // the piece with which the first sentence is there
	}{
		{[]string{"It", " is", ".", " ", "So"}, 3},
		{[]string{"It", " is", "?", "\n"}, 3},
		{[]string{"It", " is", ".", " Th", "en"}, 3},
		{[]string{"It", " is", "...", " ", "T"}, 4},
		{[]string{"It is 5 p.m.", " ", "T"}, 2},
		{[]string{"In the U.S.", " It", " ", "is"}, 2},
		{[]string{"Go home.\"", " ", "T"}, 2},
		{[]string{"A title", "\n", "\n"}, 2},
		{[]string{"A title\n", "T"}, 1},
		{[]string{"好。", "好"}, 1},
	} {
		var s Splitter
		for i, p := range tc.pieces {
			got := s.Add(p)
			if (len(got) > 0) != (i == tc.first) {
				t.Errorf("%q: piece %d gave %q, want the first sentence at piece %d", tc.pieces, i, got, tc.first)
			}
			if len(got) > 0 {
				break
			}
		}
	}
}

func TestSplitter_CutsWhatIsTooLong(t *testing.T) {
	for name, tc := range map[string]struct{ text, first string }{
		"at a clause":    {strings.Repeat("word ", 150) + "end, " + strings.Repeat("word ", 200), strings.Repeat("word ", 150) + "end,"},
		"at a word":      {"a, " + strings.Repeat("word ", 400), "a, " + strings.TrimSpace(strings.Repeat("word ", 204))},
		"at a character": {strings.Repeat("ä", 2000) + "x", strings.Repeat("ä", 512)},
		"within none":    {"x" + strings.Repeat("ä", 2000), "x" + strings.Repeat("ä", 511)},
	} {
		got := split(tc.text)
		if got[0] != tc.first {
			t.Errorf("%s: got %q, want %q", name, got[0], tc.first)
		}
		if diff := cmp.Diff(got, split(strings.Split(tc.text, "")...)); diff != "" {
			t.Errorf("%s: by characters (-whole +got):\n%s", name, diff)
		}
	}
}

// TestSplitter_HoldsLittle: nothing that comes without an end is held back.
func TestSplitter_HoldsLittle(t *testing.T) {
	for _, piece := range []string{" ", "\n", "x", "x ", ".", "etc. ", "Mr. ", "1. ", "?", "\"", "\xff"} {
		var s Splitter
		for range 20_000 {
			s.Add(piece)
			if len(s.text) > maxBytes+2*lookBytes {
				t.Fatalf("of many %q, %d bytes are held back", piece, len(s.text))
			}
		}
	}
}

func TestSplitter_IsReadyAgain(t *testing.T) {
	var s Splitter
	for range 2 {
		if got := append(s.Add("One. Mr."), s.Flush()...); !slices.Equal(got, []string{"One.", "Mr."}) {
			t.Errorf("got %q", got)
		}
	}
	if got := s.Flush(); got != nil {
		t.Errorf("nothing came, and %q was left", got)
	}
}

// text generates texts that are full of what is hard.
func text() *rapid.Generator[string] {
	parts := rapid.OneOf(
		rapid.SampledFrom([]string{".", "...", "…", "?", "!", "\"", "”", ")", "*", "。", "？", " ", " ", " ", "\n", "\n\n", "\r\n", "\t", "\u3000"}),
		rapid.SampledFrom([]string{"Mr", "Dr", "e.g", "U.S", "p.m", "etc", "Inc", "No", "fig", "I", "J", "a", "3", "14", "1999", "The", "It", "It's", "the", "Smith", "ä", "好", "😀"}),
		rapid.String(),
		rapid.Map(rapid.IntRange(1, 1200), func(n int) string { return strings.Repeat("long ", n/5) + strings.Repeat("x", n%7) }),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 4), func(b []byte) string { return string(b) }),
	)
	return rapid.Map(rapid.SliceOfN(parts, 0, 60), func(p []string) string { return strings.Join(p, "") })
}

func withoutSpace(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if !unicode.IsSpace(r) {
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// TestProperty_Splitter: no character but white space is lost, added or moved; the pieces make no difference; sentences
// are short and folded.
func TestProperty_Splitter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := text().Draw(t, "text")
		whole := split(text)
		if got, want := withoutSpace(strings.Join(whole, "")), withoutSpace(text); got != want {
			t.Fatalf("sentences %q of %q", whole, text)
		}
		for _, s := range whole {
			if s == "" || s != fold(s) || len(s) > maxBytes+2*lookBytes {
				t.Fatalf("sentence %q", s)
			}
		}
		var pieces []string
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(0, min(len(rest), 80)).Draw(t, "piece")
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		if got := split(pieces...); !slices.Equal(got, whole) {
			t.Fatalf("%q in pieces %q:\n%q\nas a whole:\n%q", text, pieces, got, whole)
		}
	})
}

func FuzzSplitter(f *testing.F) {
	for _, marked := range texts {
		text, _ := want(marked)
		f.Add(text, 3)
	}
	f.Fuzz(func(t *testing.T, text string, cut int) {
		whole := split(text)
		if got, want := withoutSpace(strings.Join(whole, "")), withoutSpace(text); got != want {
			t.Fatalf("sentences %q of %q", whole, text)
		}
		if cut > 0 && cut < len(text) && !slices.Equal(split(text[:cut], text[cut:]), whole) {
			t.Fatalf("%q cut at %d: %q, whole %q", text, cut, split(text[:cut], text[cut:]), whole)
		}
	})
}

// BenchmarkSplitter takes a text of 20 sentences in pieces of 4 bytes, as tokens are.
func BenchmarkSplitter(b *testing.B) {
	text := strings.Repeat("The quick brown fox, e.g. a red one, jumps 3.5 m over Mr. Dog. ", 20)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		var s Splitter
		for i := 0; i < len(text); i += 4 {
			s.Add(text[i:min(i+4, len(text))])
		}
		s.Flush()
	}
}
