package chains

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/chains/spec"
)

func TestMermaid_Voice(t *testing.T) {
	want := `flowchart LR
  in(["in"])
  s1["transcribe"]
  s2{"route"}
  s3["sorry"]
  s4["answer"]
  s5[["speak (each)"]]
  out(["out"])
  in --> s1
  s1 --> s2
  s2 -->|"it.text == #34;#34; #124;#124; it.confidence #60; 0.35"| s3
  s2 -->|"else"| s4
  s3 --> s5
  s4 --> s5
  s5 --> out
`
	if diff := cmp.Diff(want, Mermaid(voiceChain())); diff != "" {
		t.Errorf("drawing (-want +got):\n%s", diff)
	}
}

func TestMermaid_PassThroughAndNames(t *testing.T) {
	c := chain(
		as("end", call("count", "in")),
		last("end"),
		pick("last", when(strings.Repeat("true && ", 10)+"true", as("a", call("inc", "last")), as("b", call("inc", "a"))), pass("", "last")),
	)
	want := `flowchart LR
  in(["in"])
  s1["end: count"]
  s2["last (last)"]
  s3{"route"}
  s4["a: inc"]
  s5["b: inc"]
  out(["out"])
  in --> s1
  s1 --> s2
  s2 --> s3
  s3 -->|"case 1"| s4
  s4 --> s5
  s5 --> out
  s3 -->|"else"| out
`
	if diff := cmp.Diff(want, Mermaid(c)); diff != "" {
		t.Errorf("drawing (-want +got):\n%s", diff)
	}
}

// TestMermaid_AnyChain: what Compile refuses is drawn too, in a size that is in proportion.
func TestMermaid_AnyChain(t *testing.T) {
	cases := func() (cases []spec.Case) {
		for range 32 {
			cases = append(cases, spec.Case{When: "x", Out: "route", Steps: []spec.Step{call("route", "route"), call("route", "nobody")}})
		}
		return cases
	}
	c := chain(pick("route", cases()...), as(`a"b]`, call("x\n<y>", "last")), call("nobody", "a"))
	c.Steps[0].Cases[0].Steps[0] = pick("route", cases()...)
	got := Mermaid(c)
	if len(got) > 100_000 || strings.Contains(got, `a"b`) || strings.Contains(got, "<y>") {
		t.Errorf("%d bytes:\n%.2000s", len(got), got)
	}
}
