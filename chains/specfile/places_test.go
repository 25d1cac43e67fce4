package specfile

import (
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	"github.com/catenary-run/catenary/chains/spec"
)

// file is a chain whose first case has the expression that follows "when:".
const file = "chain: e\nsteps:\n  - switch: in\n    cases:\n      - when: %s\n        out: in\n      - {else: , out: in}\n"

func firstCase(t interface{ Fatalf(string, ...any) }, text string) spec.Case {
	c, err := Parse("x.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	return c.Steps[0].Cases[0]
}

func TestParse_PlacesOfAnExpression(t *testing.T) {
	tests := []struct {
		name, when string
		want       string // the position of the first X
	}{
		{"plain", `it.a == X`, "x.yaml:5:23"},
		{"plain, characters of two bytes", `it.a == "é" + X`, "x.yaml:5:29"},
		{"plain, on two lines", "it.a\n          == X", "x.yaml:6:14"},
		{"plain, with an empty line", "it.a\n\n          == X", "x.yaml:7:14"},
		{"single quotes", `'it.a == X'`, "x.yaml:5:24"},
		{"single quotes, doubled", `'it.a == ''b'' + X'`, "x.yaml:5:32"},
		{"single quotes, two lines and space around", "'  it.a \n          == X '", "x.yaml:6:14"},
		{"double quotes", `"it.a == X"`, "x.yaml:5:24"},
		{"double quotes, escapes", `"it.a == \"\u00e9\x20\" + X"`, "x.yaml:5:41"},
		{"double quotes, an escaped line break", "\"it.a \\\n          == X\"", "x.yaml:6:14"},
		{"literal", "|\n          it.a\n          == X", "x.yaml:7:14"},
		{"literal, indented further", "|-  # why\n\n            it.a\n              == X\n", "x.yaml:8:18"},
		{"literal, indentation given", "|2-\n            it.a\n          == X\n", "x.yaml:7:14"},
		{"folded", ">-\n          it.a\n          == X\n", "x.yaml:7:14"},
		{"folded, empty and indented lines", ">\n          it.a\n\n            == b\n          || X\n\n", "x.yaml:9:14"},
	}
	for _, tt := range tests {
		for _, eol := range []string{"\n", "\r\n"} {
			t.Run(tt.name+fmt.Sprintf(" %q", eol), func(t *testing.T) {
				text := strings.ReplaceAll(fmt.Sprintf(file, tt.when), "\n", eol)
				cs := firstCase(t, text)
				offset := len([]rune(cs.When[:strings.IndexByte(cs.When, 'X')]))
				if got, exact := cs.At(offset); got != tt.want || !exact {
					t.Errorf("got %s, %v, want %s; places %v of %q", got, exact, tt.want, cs.Places, cs.When)
				}
			})
		}
	}
}

// TestParse_PlacesOfAnyText: however a text is written, each of its characters is found where it stands.
func TestParse_PlacesOfAnyText(t *testing.T) {
	styles := []yaml.Style{0, yaml.SingleQuotedStyle, yaml.DoubleQuotedStyle, yaml.LiteralStyle, yaml.FoldedStyle}
	exact := map[yaml.Style]int{}
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`[a-z'"#\x{e9}]( {0,2}[a-z=&|'"\\#:\x{e9}\x{1f600}]|\n{1,3} {0,3}[a-z"']){0,40}`).Draw(t, "value")
		style := rapid.SampledFrom(styles).Draw(t, "style")
		when := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value, Style: style}
		m := node(yaml.MappingNode)
		put(m, "when", when)
		put(m, "out", text("in"))
		width := rapid.SampledFrom([]int{-1, 10, 20}).Draw(t, "width")
		b, err := yaml.Dump(m, yaml.WithIndent(rapid.IntRange(2, 4).Draw(t, "indent")), yaml.WithLineWidth(width))
		if err != nil {
			t.Fatal(err)
		}
		body := strings.ReplaceAll(strings.TrimRight(string(b), "\n"), "\n", "\n        ")
		whole := "chain: a\nsteps:\n  - switch: in\n    cases:\n      - " + body + "\n      - {else: , out: in}\n"
		cs := firstCase(t, whole)
		if cs.When != strings.TrimSpace(value) {
			return // the deeper indentation has made another text of it
		}
		if cs.Places == nil {
			t.Fatalf("no places of %q in\n%s", cs.When, whole)
		}
		exact[style]++
		lines := strings.Split(whole, "\n")
		for i, r := range []rune(cs.When) {
			pos, _ := cs.At(i)
			var line, col int
			if _, err := fmt.Sscanf(pos, "x.yaml:%d:%d", &line, &col); err != nil {
				t.Fatal(err)
			}
			if r == '\n' || r == ' ' {
				continue // it may stand for a line break
			}
			if got := []rune(lines[line-1])[col-1]; got != r && got != '\\' {
				t.Fatalf("character %d, %q, of %q: at %s is %q in\n%s", i, r, cs.When, pos, got, whole)
			}
		}
	})
	for _, style := range styles {
		if exact[style] == 0 {
			t.Errorf("style %v was never checked", style)
		}
	}
}

// TestParse_PlacesThatAreNotKnown: what the file does not show in a simple way has the position of its beginning.
func TestParse_PlacesThatAreNotKnown(t *testing.T) {
	long := firstCase(t, fmt.Sprintf(file, "'"+strings.Repeat("x", maxPlaced+1)+"'"))
	if pos, exact := long.At(10); pos != "x.yaml:5:15" || exact {
		t.Errorf("a text that is too long: got %s, %v", pos, exact)
	}
	sep := firstCase(t, fmt.Sprintf(file, "\"a\u2028b\""))
	if pos, _ := sep.At(0); !strings.HasPrefix(pos, "x.yaml:5:") {
		t.Errorf("a line separator of Unicode: got %s", pos)
	}
}
