package chains

import (
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// exprFault is what is wrong with an expression, and at which of its characters: -1 if it is the whole. The text goes
// on where a sentence has named the expression.
type exprFault struct {
	offset int
	text   string
}

// whole returns a fault of the whole expression.
func whole(format string, args ...any) exprFault { return exprFault{-1, fmt.Sprintf(format, args...)} }

// offsetOf returns where a node stands, or -1.
func offsetOf(offsets map[int64]ast.OffsetRange, node int64) int {
	if at, ok := offsets[node]; ok {
		return int(at.Start)
	}
	return -1
}

// faults returns what CEL complains of, in the words of the author's text.
func (e *celEnv) faults(text string, issues *cel.Issues) []exprFault {
	plain := strings.NewReplacer("'"+inputVar+"'", "'in'", " (in container '')", "")
	var out []exprFault
	misses := e.types.misses
	for _, is := range issues.Errors() {
		msg := plain.Replace(strings.Join(strings.Fields(is.Message), " "))
		for i, m := range misses {
			if strings.Contains(msg, "'"+m.field+"'") {
				msg += " of " + strings.Trim(m.object, "<>") + m.hint
				misses = misses[i+1:]
				break
			}
		}
		out = append(out, exprFault{offsetAt(text, is.Location.Line(), is.Location.Column()), ": " + msg})
	}
	return out
}

// offsetAt returns the character at a line, from 1, and a column, from 0.
func offsetAt(text string, line, col int) int {
	if line < 1 || col < 0 {
		return -1
	}
	offset := 0
	for range line - 1 {
		before, after, _ := strings.Cut(text, "\n")
		offset += len([]rune(before)) + 1
		text = after
	}
	return offset + col
}

// site is where an expression stands: in which case of a switch, and where that is written.
type site struct {
	cs   spec.Case
	nth  int    // case, from 1
	pos  string // of the case, or of the switch
	text string
}

// at returns the one position of a fault, and the fault in words. Where no file shows the character, the words do.
func (s site) at(f exprFault) (pos, text string) {
	in := fmt.Sprintf("case %d: expression %s", s.nth, quote(s.text))
	if f.offset < 0 {
		return s.pos, in + f.text
	}
	pos, exact := s.cs.At(f.offset)
	if exact {
		return pos, in + f.text
	}
	before := []rune(s.text)
	before = before[:min(f.offset, len(before))]
	lines := strings.Split(string(before), "\n")
	where := fmt.Sprintf("column %d", len([]rune(lines[len(lines)-1]))+1)
	if strings.Contains(s.text, "\n") {
		where = fmt.Sprintf("line %d, %s", len(lines), where)
	}
	return s.pos, in + ", " + where + f.text
}

// failure returns a fault that came up in a run.
func (s site) failure(f exprFault) error {
	pos, text := s.at(f)
	return fmt.Errorf("%s%w: %s", at(pos), functions.ErrChain, text)
}

// quote writes an expression for a message: on one line, and cut if it is long, since the position tells the rest.
func quote(text string) string {
	const most = 200
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "..."
	}
	return "`" + text + "`"
}
