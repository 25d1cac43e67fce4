package llama

import (
	"strings"
	"unicode/utf8"
)

// pieces joins the bytes of tokens to whole characters: a token may end inside one.
type pieces struct{ held []byte }

// add returns all that is whole now. Bytes that can't become a character any more turn into U+FFFD.
func (p *pieces) add(b []byte) string {
	p.held = append(p.held, b...)
	whole := len(p.held)
	for i := 1; i <= min(utf8.UTFMax-1, len(p.held)); i++ {
		if at := len(p.held) - i; utf8.RuneStart(p.held[at]) {
			if !utf8.FullRune(p.held[at:]) {
				whole = at
			}
			break
		}
	}
	text := strings.ToValidUTF8(string(p.held[:whole]), "\uFFFD")
	p.held = append(p.held[:0], p.held[whole:]...)
	return text
}

// rest returns what is left at the end.
func (p *pieces) rest() string {
	text := strings.ToValidUTF8(string(p.held), "\uFFFD")
	p.held = nil
	return text
}
