package specfile

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/catenary-run/catenary/chains/spec"
)

// maxPlaced bounds the texts that places are found for: the longest expression that package chains accepts.
const maxPlaced = 4 << 10

// places returns where the characters of the scalar n, without the space around it, are written. The library tells only
// where a scalar begins, so n's value is looked up in the file, character by character. Places returns nil if the two do
// not agree: a message then has the beginning.
func (p *parser) places(n, mapping *yaml.Node) []spec.Place {
	if len(n.Value) > maxPlaced {
		return nil
	}
	a := aligner{value: []rune(n.Value), src: cursor{lines: p.lines, line: n.Line, col: 1}}
	for range n.Column - 1 {
		a.src.next()
	}
	ok := false
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		ok = a.block(n.Style&yaml.FoldedStyle != 0, mapping.Column-1)
	case n.Style&yaml.SingleQuotedStyle != 0:
		ok = a.src.next() == '\'' && a.flow('\'')
	case n.Style&yaml.DoubleQuotedStyle != 0:
		ok = a.src.next() == '"' && a.flow('"')
	default:
		ok = a.flow(0)
	}
	if !ok {
		return nil
	}
	trimmed := strings.TrimLeftFunc(n.Value, unicode.IsSpace)
	return after(a.found, utf8.RuneCountInString(n.Value)-utf8.RuneCountInString(trimmed))
}

// after returns places for a text without its first n characters.
func after(places []spec.Place, n int) []spec.Place {
	var rest []spec.Place
	for i, p := range places {
		switch cut := n - p.Offset; {
		case i+1 < len(places) && places[i+1].Offset <= n:
			continue
		case cut > 0:
			p.Offset, p.Col = 0, p.Col+cut
		default:
			p.Offset -= n
		}
		rest = append(rest, p)
	}
	return rest
}

// cursor is a place in the file.
type cursor struct {
	lines     []string
	line, col int // from 1; the column counts characters
	at        int // byte in the line
}

const (
	endOfLine = '\n'
	endOfFile = rune(-1)
)

func (c *cursor) peek() rune {
	if c.line > len(c.lines) {
		return endOfFile
	}
	if c.at == len(c.lines[c.line-1]) {
		return endOfLine
	}
	r, _ := utf8.DecodeRuneInString(c.lines[c.line-1][c.at:])
	return r
}

func (c *cursor) next() rune {
	r := c.peek()
	switch r {
	case endOfFile:
	case endOfLine:
		c.line, c.col, c.at = c.line+1, 1, 0
	default:
		_, size := utf8.DecodeRuneInString(c.lines[c.line-1][c.at:])
		c.col++
		c.at += size
	}
	return r
}

// aligner finds the characters of a value in the text that it was read from.
type aligner struct {
	value []rune
	done  int // characters of the value that have been found
	src   cursor
	found []spec.Place
}

// place notes that the next character of the value is at c.
func (a *aligner) place(c cursor) {
	if n := len(a.found); n > 0 {
		if p := a.found[n-1]; p.Line == c.line && p.Col+a.done-p.Offset == c.col {
			return
		}
	}
	a.found = append(a.found, spec.Place{Offset: a.done, Line: c.line, Col: c.col})
}

// take says that the value goes on with text, the first character of which is at c.
func (a *aligner) take(text string, c cursor) bool {
	for i, r := range text {
		if a.done == len(a.value) || a.value[a.done] != r {
			return false
		}
		if i == 0 {
			a.place(c)
		}
		a.done++
	}
	return true
}

// flow finds the value of a plain scalar, or of one in quotes, from the character after the quote on.
func (a *aligner) flow(quote rune) bool {
	for a.done < len(a.value) {
		if text, end := fold(a.src); text != "" {
			if !a.take(text, a.src) {
				return false
			}
			a.src = end
			continue
		}
		begin := a.src
		switch r := a.src.next(); {
		case quote == '"' && r == '\\':
			escape := a.src.next()
			if escape == endOfLine {
				for isBlank(a.src.peek()) {
					a.src.next()
				}
				continue
			}
			a.place(begin) // the library has read the escape, so whatever it stands for is in the value
			a.done++
			for range map[rune]int{'x': 2, 'u': 4, 'U': 8}[escape] {
				a.src.next()
			}
		case quote == '\'' && r == '\'' && a.src.next() != '\'':
			return false
		default:
			if r == endOfFile || !a.take(string(r), begin) {
				return false
			}
		}
	}
	return true
}

// fold returns what the line breaks at c, and the blanks around them, stand for in a value, and where they end.
func fold(c cursor) (string, cursor) {
	breaks := 0
	for isBlank(c.peek()) || c.peek() == endOfLine {
		if c.next() == endOfLine {
			breaks++
		}
	}
	switch breaks {
	case 0:
		return "", c
	case 1:
		return " ", c
	}
	return strings.Repeat("\n", breaks-1), c
}

// block finds the value of a block scalar, from its indicator on. Outer is the indentation of the mapping that it is in.
func (a *aligner) block(folded bool, outer int) bool {
	indent := 0
	for r := a.src.next(); r != endOfLine; r = a.src.next() {
		if r == endOfFile || r == '#' {
			break
		}
		if '1' <= r && r <= '9' {
			indent = outer + int(r-'0')
		}
	}
	if a.src.col > 1 { // a comment
		a.src = cursor{lines: a.src.lines, line: a.src.line + 1, col: 1}
	}
	lines := a.src.lines[min(a.src.line-1, len(a.src.lines)):]
	lineBreak, empty, wasBlank := "", 0, false
	end := utf8.RuneCountInString(strings.TrimRightFunc(string(a.value), unicode.IsSpace))
	for i, line := range lines {
		if a.done >= end {
			return true // what follows is space, which is trimmed
		}
		text := strings.TrimLeft(line, " ")
		if indent == 0 && text != "" {
			indent = len(line) - len(text)
		}
		if text == "" && (indent == 0 || len(line) <= indent) {
			empty++
			continue
		}
		if len(line)-len(text) < indent {
			return false
		}
		text = line[indent:]
		blank := isBlank(rune(text[0]))
		// A line break between two lines that are not indented further is folded.
		if folded && !wasBlank && !blank && lineBreak != "" {
			if lineBreak = ""; empty == 0 {
				lineBreak = " "
			}
		}
		begin := cursor{line: a.src.line + i, col: 1}
		if !a.take(lineBreak+strings.Repeat("\n", empty), begin) {
			return false
		}
		begin.col += indent
		if !a.take(text, begin) {
			return false
		}
		lineBreak, empty, wasBlank = "\n", 0, blank
	}
	return a.done >= end
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' }

// linesOf splits a file where YAML does.
func linesOf(data []byte) []string {
	text := strings.TrimPrefix(string(data), "\ufeff")
	return strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
}
