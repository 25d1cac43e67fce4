package sentence

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// class is what a full stop may belong to, and by that what must follow for it to end a sentence.
type class int

const (
	plain   class = iota // ends
	never                // an abbreviation that something always follows
	quoted               // a stop within closing quotes or brackets: ends unless a lower-case word follows
	pause                // an ellipsis: likewise
	number               // a number: likewise
	counted              // an abbreviation before numbers: ends unless one follows
	upper                // an abbreviation that may be the last word: ends if a capital follows
	initial              // one that names follow: ends if a word follows that begins sentences and no names
)

// abbreviations have no stop within them; those that have one are told by their form.
var abbreviations = classes(map[class]string{
	never: `Mr Mrs Ms Mx Dr Prof St Mt Gen Col Sgt Capt Cpt Lt Cmdr Adm Maj Rev Fr Hon Sen Rep Gov Pres Messrs Mme Mlle
		mr mrs ms dr prof st vs eg ie cf viz approx ca incl`,
	counted: `No Nos Fig Figs Vol Vols Ch Sec Art Eq p pp no nos fig figs vol vols ch sec art eq
		Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec`,
	upper:   `etc`,
	initial: `Inc Ltd Co Corp Bros Jr Sr Ave Blvd Rd Dept Univ Est al`,
})

// openers are words that begin sentences more often than they begin names.
var openers = set(`A After All Also An And Another Are As At Because Before Both But By Can Could Did Do Does During Each Every For
	From Had Has Have He Her Here His How However I If In Is It Its Later Let Many Maybe Most My No Not Now Of On Once One Only Or Other
	Our Perhaps She Should Since So Some Sometimes Still That The Their Then There Therefore These They This Those Though Thus To Today
	Was We Well Were What When Where Whether Which While Who Why Will With Would Yes Yet You Your`)

func set(words string) map[string]bool {
	s := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		s[w] = true
	}
	return s
}

func classes(words map[class]string) map[string]class {
	all := map[string]class{}
	for c, list := range words {
		for w := range set(list) {
			all[w] = c
		}
	}
	return all
}

// classify returns the class of a full stop after text, which begins with the sentence.
func classify(text string) class {
	from := len(text)
	letters, digits, inner := 0, 0, 0
	for from > 0 {
		r, size := utf8.DecodeLastRuneInString(text[:from])
		switch {
		case unicode.IsLetter(r):
			letters++
		case unicode.IsDigit(r):
			digits++
		case r == '.':
			inner++
		default:
			size = 0
		}
		if size == 0 {
			break
		}
		from -= size
	}
	word := text[from:]
	if class, ok := abbreviations[word]; ok {
		return class
	}
	switch {
	case letters > 0 && digits > 0 || letters+digits == 0:
		return plain
	case digits > 0 && inList(text[:from]) && longestPart(word) <= 2:
		return never // the number of an item
	case digits > 0:
		return number
	case letters == 1 && inner == 0:
		if inList(text[:from]) && word != "I" {
			return never // the letter of an item
		}
		return initial
	case inner > 0 && longestPart(word) <= 2: // e.g, a.m, U.S, Ph.D
		switch {
		case strings.EqualFold(word, "e.g") || strings.EqualFold(word, "i.e"):
			return never
		case strings.ToLower(word) == word:
			return upper
		}
		return initial
	}
	return plain
}

// inList reports whether what is between the beginning of a sentence and its first word can be that of an item.
func inList(before string) bool {
	return strings.IndexFunc(before, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) < 0
}

// longestPart returns the length of the longest part of a word between two stops.
func longestPart(word string) int {
	longest := 0
	for part := range strings.SplitSeq(word, ".") {
		longest = max(longest, utf8.RuneCountInString(part))
	}
	return longest
}
