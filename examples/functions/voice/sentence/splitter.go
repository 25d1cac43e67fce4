package sentence

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxBytes is the most that a sentence can have: a minute of speech. A longer one is cut between two words.
	maxBytes = 1024
	// lookBytes is how far after a stop the decision looks. What follows later has no say.
	lookBytes = 64
)

// Splitter cuts the text that it is given in pieces. How the text is cut into pieces makes no difference to the
// sentences. The zero value is ready.
type Splitter struct {
	text string // not given out yet, without white space at its beginning
	at   int    // before this offset no sentence ends
	kept int    // offset behind the last stop that ends no sentence; a line may end there, too
	word bool   // a letter or digit is before at
}

// Add takes the next piece and returns the sentences that are whole now.
func (s *Splitter) Add(piece string) []string {
	s.text += piece
	return s.cut(false)
}

// Flush returns the sentences that are left when no more text comes. The splitter is ready for another text then.
func (s *Splitter) Flush() []string {
	sentences := s.cut(true)
	if rest := fold(s.text); rest != "" {
		sentences = append(sentences, rest)
	}
	*s = Splitter{}
	return sentences
}

// cut takes out all sentences that are whole, given whether more text may come.
func (s *Splitter) cut(ended bool) (sentences []string) {
	for {
		if s.at == 0 {
			s.text = strings.TrimLeftFunc(s.text, unicode.IsSpace)
		}
		end := s.next(ended)
		if end == 0 {
			return sentences
		}
		if sentence := fold(s.text[:end]); sentence != "" {
			sentences = append(sentences, sentence)
		}
		*s = Splitter{text: s.text[end:]}
	}
}

// next returns the offset behind the first sentence, or 0 if none is whole. It goes on from s.at.
func (s *Splitter) next(ended bool) int {
	for s.at < len(s.text) {
		if s.at >= maxBytes {
			return longest(s.text[:maxBytes])
		}
		// The decision sees the same text however the text came: up to the limit, or up to the end.
		look := view{text: s.text, ended: ended, start: s.at, kept: s.kept}
		if most := s.at + lookBytes; len(s.text) >= most {
			look.text, look.ended = s.text[:most], true
		}
		r, size, ok := look.rune(s.at)
		if !ok {
			return 0
		}
		after, verdict := s.at+size, goesOn
		switch {
		case stops[r] != 0:
			after, verdict = look.stop()
		case r == '\n':
			after, verdict = look.line()
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			s.word = true
		}
		switch {
		case verdict == unknown:
			return 0
		case verdict == ends && s.word: // what has no word is no sentence
			return after
		}
		if stops[r] != 0 {
			s.kept = after
		}
		s.at = after
	}
	return 0
}

// longest returns where to cut a text that is too long: after its last clause if that is in the second half, else after
// its last word, else between two characters.
func longest(text string) int {
	clause, word := 0, 0
	for i, r := range text {
		if !unicode.IsSpace(r) {
			continue
		}
		word = i
		if i > 0 && strings.ContainsRune(",;:", rune(text[i-1])) {
			clause = i
		}
	}
	switch {
	case clause > len(text)/2:
		return clause
	case word > 0:
		return word
	}
	end := len(text)
	for back := 1; back < utf8.UTFMax; back++ { // not within a character
		if utf8.RuneStart(text[end-back]) {
			if !utf8.FullRuneInString(text[end-back:]) {
				return end - back
			}
			break
		}
	}
	return end
}

// fold returns text with one space for each run of white space, and none around.
func fold(text string) string { return strings.Join(strings.Fields(text), " ") }
