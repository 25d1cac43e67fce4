package llama

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPiecesGivesWholeCharacters(t *testing.T) {
	text := "añ日\U0001F98A."
	for size := 1; size <= len(text); size++ {
		var p pieces
		var got strings.Builder
		for at := 0; at < len(text); at += size {
			s := p.add([]byte(text[at:min(at+size, len(text))]))
			if !utf8.ValidString(s) {
				t.Errorf("pieces of %d bytes: %q is not whole", size, s)
			}
			got.WriteString(s)
		}
		got.WriteString(p.rest())
		if got.String() != text {
			t.Errorf("pieces of %d bytes: got %q, want %q", size, got.String(), text)
		}
	}
}

func FuzzPieces(f *testing.F) {
	f.Add([]byte("日本"), 1)
	f.Add([]byte("\xf0\x9f\xff\x80a"), 2)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		size = max(1, size%8)
		var p pieces
		var got string
		for at := 0; at < len(data); at += size {
			got += p.add(data[at:min(at+size, len(data))])
			if len(p.held) >= utf8.UTFMax {
				t.Fatalf("%d bytes are held back", len(p.held))
			}
		}
		got += p.rest()
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not valid", got)
		}
		if utf8.Valid(data) && got != string(data) {
			t.Fatalf("got %q, want %q", got, data)
		}
	})
}
