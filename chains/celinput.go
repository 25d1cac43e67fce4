package chains

import (
	"errors"
	"strings"
)

// inputVar is what the identifier in is called inside CEL, where in is an operator only. It is as long as in, so that
// columns stay right, and it is a name that nobody gives to anything.
const inputVar = "__"

// bindInput returns src with every in that stands where an operand is expected replaced by [inputVar]. It reads tokens
// only: what is no expression is left for CEL to complain of.
func bindInput(src string) (string, error) {
	var out strings.Builder
	operand := false // the last token ends an operand: an in that follows is the operator
	selected := false
	for i := 0; i < len(src); {
		start := i
		switch c := src[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f':
			i++
			out.WriteByte(c)
			continue
		case strings.HasPrefix(src[i:], "//"):
			for i < len(src) && src[i] != '\n' {
				i++
			}
			out.WriteString(src[start:i])
			continue
		case c == '"' || c == '\'':
			i = endOfString(src, i, false)
			operand, selected = true, false
		case c == '`':
			if n := strings.IndexByte(src[i+1:], '`'); n >= 0 {
				i += n + 2
			} else {
				i = len(src)
			}
			operand, selected = true, false
		case isLetter(c):
			for i < len(src) && (isLetter(src[i]) || isDigit(src[i])) {
				i++
			}
			word := src[start:i]
			if i < len(src) && (src[i] == '"' || src[i] == '\'') && strings.Trim(word, "rRbB") == "" {
				i = endOfString(src, i, strings.ContainsAny(word, "rR"))
				operand = true
				break
			}
			switch {
			case word == inputVar:
				return "", errors.New("the name " + inputVar + " is reserved")
			case word == "in" && operand:
				operand = false
			case word == "in" && !selected:
				out.WriteString(inputVar)
				operand, selected = true, false
				continue
			default:
				operand = true
			}
			selected = false
		case isDigit(c):
			for i < len(src) && (isLetter(src[i]) || isDigit(src[i]) || src[i] == '.') {
				i++
			}
			operand, selected = true, false
		default:
			i++
			operand = c == ')' || c == ']' || c == '}'
			selected = c == '.'
		}
		out.WriteString(src[start:i])
	}
	return out.String(), nil
}

// endOfString returns the index after the string literal that begins at src[i], or len(src) if it does not end.
func endOfString(src string, i int, raw bool) int {
	quote := src[i : i+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(src[i:], triple) {
		quote = triple
	}
	for i += len(quote); i < len(src); i++ {
		switch {
		case src[i] == '\\' && !raw:
			i++
		case strings.HasPrefix(src[i:], quote):
			return i + len(quote)
		}
	}
	return len(src)
}

func isLetter(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
