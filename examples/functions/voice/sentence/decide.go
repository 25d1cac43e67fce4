package sentence

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// verdict is what is known of a place in a text.
type verdict int

const (
	goesOn  verdict = iota // the sentence goes on
	ends                   // it ends here
	unknown                // that depends on text to come
)

// stops are the characters that can end a sentence.
var stops = map[rune]stop{
	'.': full, '…': dots, '!': mark, '?': mark, '؟': mark, '।': mark, '۔': mark,
	'。': wide, '！': wide, '？': wide, '｡': wide,
}

type stop int

const (
	full stop = iota + 1 // may belong to an abbreviation or a number
	dots                 // may be a pause
	mark                 // ends a sentence if white space follows
	wide                 // ends a sentence
)

// closers may stand between a stop and the white space after it; some of them mark emphasis.
const closers = `"'”’»›)]}*_` + "`" + `」』）】》〉`

// view is the text that a decision may look at. Each step of it asks for the next character only when that matters, so
// that what is decided early is what would be decided late.
type view struct {
	text  string // from the beginning of the sentence
	ended bool   // nothing after text counts
	start int    // of the stop or line end in question
	kept  int    // offset behind the last stop before it that ended nothing
}

// rune returns the character at i. It is false if that is still to come; at the end of all text the size is 0.
func (v view) rune(i int) (r rune, size int, ok bool) {
	rest := v.text[i:]
	if !v.ended && !utf8.FullRuneInString(rest) {
		return 0, 0, false
	}
	r, size = utf8.DecodeRuneInString(rest)
	return r, size, true
}

// stop decides about the stops that begin at v.start, and returns the offset behind them and what closes with them.
func (v view) stop() (after int, _ verdict) {
	kind, count := stop(0), 0
	after = v.start
	for {
		r, size, ok := v.rune(after)
		if !ok {
			return after, unknown
		}
		if size == 0 || stops[r] == 0 {
			break
		}
		kind = max(kind, stops[r])
		count++
		after += size
	}
	closing := after
	for {
		r, size, ok := v.rune(after)
		if !ok {
			return after, unknown
		}
		if size > 0 && strings.ContainsRune(closers, r) {
			after += size
			continue
		}
		switch {
		case kind == wide || size == 0:
			return after, ends
		case !unicode.IsSpace(r):
			return after, goesOn // 3.14, example.com, U.S.
		}
		break
	}
	class := plain
	switch {
	case kind == full && count == 1:
		class = classify(v.text[:v.start])
	case kind <= dots:
		class = pause
	}
	if (class == plain || class == counted) && after > closing {
		class = quoted
	}
	return after, v.follows(class, after)
}

// follows decides by what comes after a stop of a class, at the white space at i.
func (v view) follows(class class, i int) verdict {
	switch class {
	case plain:
		return ends
	case never:
		return goesOn
	}
	r, i, known, blank := v.skip(i)
	switch {
	case !known:
		return unknown
	case blank || r == 0:
		return ends
	}
	switch class {
	case quoted, pause, number:
		return endsIf(!unicode.IsLower(r))
	case counted:
		return endsIf(!unicode.IsDigit(r))
	case upper:
		return endsIf(unicode.IsUpper(r))
	}
	// A name may follow an initial: only a word that begins sentences is none.
	from := i
	for {
		r, size, ok := v.rune(i)
		if !ok {
			return unknown
		}
		if size == 0 || !unicode.IsLetter(r) {
			return endsIf(openers[v.text[from:i]])
		}
		i += size
	}
}

func endsIf(so bool) verdict {
	if so {
		return ends
	}
	return goesOn
}

// line decides about the end of a line at v.start.
func (v view) line() (after int, _ verdict) {
	after = v.start + 1
	first, size, ok := v.rune(after)
	for ok && size > 0 && unicode.IsSpace(first) && first != '\n' {
		after += size
		first, size, ok = v.rune(after)
	}
	before := strings.TrimRightFunc(v.text[:v.start], unicode.IsSpace)
	switch {
	case !ok:
		return after, unknown
	case size == 0 || first == '\n':
		return after, ends
	case v.kept > 0 && len(before) == v.kept:
		return after, goesOn // what was no end within a line is none before another
	}
	return after, endsIf(!unicode.IsLower(first))
}

// skip returns the first letter or digit from i on, and its offset, or 0 at the end of all text. It stops, with blank, at
// a blank line. It is not known if the character is still to come.
func (v view) skip(i int) (r rune, at int, known, blank bool) {
	lines := 0
	for {
		r, size, ok := v.rune(i)
		switch {
		case !ok:
			return 0, i, false, false
		case size == 0:
			return 0, i, true, false
		case r == '\n':
			if lines++; lines == 2 {
				return 0, i, true, true
			}
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			return r, i, true, false
		case !unicode.IsSpace(r):
			lines = 0
		}
		i += size
	}
}
