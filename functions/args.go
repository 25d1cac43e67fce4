package functions

import (
	"errors"
	"strings"
)

// ArgPart is a piece of an argument of a WASI command: text, or what stands for a part of the call.
type ArgPart struct {
	Text  string
	Field string // of the input; "it" for an input without fields, "out" for the output file
	How   string // what stands behind the bar: "file" or nothing
	Named bool   // Field counts, not Text
}

// String returns a named part as it is written.
func (p ArgPart) String() string {
	if p.How == "" {
		return "{" + p.Field + "}"
	}
	return "{" + p.Field + "|" + p.How + "}"
}

// ArgParts cuts an argument of a manifest at its braces. Two braces stand for one.
func ArgParts(arg string) ([]ArgPart, error) {
	var parts []ArgPart
	var text strings.Builder
	for arg != "" {
		i := strings.IndexAny(arg, "{}")
		if i < 0 {
			text.WriteString(arg)
			break
		}
		text.WriteString(arg[:i])
		if strings.HasPrefix(arg[i+1:], arg[i:i+1]) {
			text.WriteByte(arg[i])
			arg = arg[i+2:]
			continue
		}
		end := strings.IndexByte(arg, '}')
		if arg[i] == '}' || end < 0 {
			return nil, errors.New("a brace without its partner; write {{ or }} for a brace")
		}
		name, how, _ := strings.Cut(arg[i+1:end], "|")
		parts = append(parts, ArgPart{Text: text.String()}, ArgPart{Field: name, How: how, Named: true})
		text.Reset()
		arg = arg[end+1:]
	}
	return append(parts, ArgPart{Text: text.String()}), nil
}
