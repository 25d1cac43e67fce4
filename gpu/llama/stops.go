package llama

import "strings"

// Bounds of a request's stop strings: they are looked for with each token.
const (
	maxStops     = 16
	maxStopBytes = 256
)

// stops ends a text before the first of some words, however it comes in pieces. What may be the beginning of one is held
// back.
type stops struct {
	words []string
	held  string
}

// add returns what may be passed on, and whether a word has come: then the text has ended. Of several words it is the one
// that was complete first.
func (s *stops) add(text string) (out string, found bool) {
	s.held += text
	at, end := -1, len(s.held)+1
	for _, word := range s.words {
		if i := strings.Index(s.held, word); i >= 0 && (i+len(word) < end || i+len(word) == end && i < at) {
			at, end = i, i+len(word)
		}
	}
	if at >= 0 {
		out, s.held = s.held[:at], ""
		return out, true
	}
	keep := s.begun()
	out, s.held = s.held[:len(s.held)-keep], s.held[len(s.held)-keep:]
	return out, false
}

// begun returns how long the longest end of the text is that a word begins with.
func (s *stops) begun() (n int) {
	for _, word := range s.words {
		for k := min(len(word)-1, len(s.held)); k > n; k-- {
			if strings.HasSuffix(s.held, word[:k]) {
				n = k
			}
		}
	}
	return n
}

// rest returns what is left at the end.
func (s *stops) rest() string {
	text := s.held
	s.held = ""
	return text
}
