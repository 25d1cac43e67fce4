package specfile

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/catenary-run/catenary/chains/spec"
)

func TestFormat_Voice(t *testing.T) {
	c, err := Parse("voice.yaml", []byte(voice))
	if err != nil {
		t.Fatal(err)
	}
	want := `chain: voice
steps:
  - call: transcribe
  - switch: transcribe
    cases:
      - when: it.text == "" || it.confidence < 0.35
        steps:
          - call: sorry
      - else:
        steps:
          - call: answer
  - each: speak
`
	if got := string(Format(c)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestFormat_RoundTrip: whatever chain it is, its file gives the same chain again.
func TestFormat_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := chains().Draw(t, "chain")
		file := Format(c)
		again, err := Parse("x.yaml", file)
		if err != nil {
			t.Fatalf("%v\nin\n%s", err, file)
		}
		if got, want := string(again.Canonical()), string(c.Canonical()); got != want {
			t.Fatalf("got  %s\nwant %s\nby\n%s", got, want, file)
		}
	})
}

// chains generates chains of any form that a file can say, sound or not.
func chains() *rapid.Generator[spec.Chain] {
	name := rapid.OneOf(
		rapid.StringMatching(`[a-z][a-z0-9-]{0,12}`),
		rapid.SampledFrom([]string{"in", "true", "null", "yes", "on", "n", "route", "last", "call", "else", "e1", "x-1"}),
	)
	when := rapid.OneOf(
		rapid.StringMatching(`[!-~\x{a1}]([ -~\n\t\x{a1}-\x{2ff}\x{1f600}]{0,30}[!-~\x{1f600}])?`),
		rapid.SampledFrom([]string{`it.text == ""`, "true", "~", "null", "- a", "a: b", "# c", "'", `"\u00e9"`, "1", "in.x", "|", "&a", "*b", "!c", "a\n  b\n\nc"}),
	)
	var steps func(t *rapid.T, depth int) []spec.Step
	steps = func(t *rapid.T, depth int) []spec.Step {
		var list []spec.Step
		for i := range rapid.IntRange(1, 3).Draw(t, "steps") {
			op := rapid.SampledFrom([]spec.Op{spec.OpCall, spec.OpEach, spec.OpLast, spec.OpSwitch}).Draw(t, "op")
			if depth > 2 && op == spec.OpSwitch {
				op = spec.OpCall
			}
			st := spec.Step{Name: name.Draw(t, "name"), Op: op, From: name.Draw(t, "from")}
			switch op {
			case spec.OpCall, spec.OpEach:
				st.Func = rapid.OneOf(rapid.Just(st.Name), name).Draw(t, "func")
				st.Timeout = time.Duration(rapid.Int64Range(0, 1<<50).Draw(t, "timeout"))
				st.Lazy = rapid.Bool().Draw(t, "lazy")
				if i > 0 && rapid.Bool().Draw(t, "default from") {
					st.From = list[i-1].Name
				}
			case spec.OpSwitch:
				n := rapid.IntRange(1, 3).Draw(t, "cases")
				for j := range n {
					cs := spec.Case{Out: name.Draw(t, "out")}
					if j < n-1 {
						cs.When = when.Draw(t, "when")
					}
					if rapid.Bool().Draw(t, "branch") {
						cs.Steps = steps(t, depth+1)
					}
					st.Cases = append(st.Cases, cs)
				}
			}
			list = append(list, st)
		}
		return list
	}
	return rapid.Custom(func(t *rapid.T) spec.Chain {
		return spec.Chain{Name: name.Draw(t, "chain"), Interrupt: rapid.SampledFrom([]string{"", spec.InterruptOnset, "other"}).Draw(t, "interrupt"),
			Priority: rapid.SampledFrom([]string{"", spec.PriorityBatch, "other"}).Draw(t, "priority"), Steps: steps(t, 0), Out: name.Draw(t, "out")}
	})
}

// FuzzParse: no bytes make Parse panic, and what it accepts survives Format.
func FuzzParse(f *testing.F) {
	f.Add([]byte(voice))
	for _, s := range []string{"", "chain: a\nsteps: [{call: f}]", "chain: &a a\nsteps: [{last: *a}]", "chain: a\nsteps:\n- switch: in\n  cases: [{when: |-\n    a\n    b\n  , out: in}, {else: , out: in}]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("x.yaml", data)
		if err != nil {
			if !placed.MatchString(err.Error()) {
				t.Errorf("%v has no place", err)
			}
			return
		}
		file := Format(c)
		again, err := Parse("x.yaml", file)
		if err != nil {
			t.Fatalf("%v\nin\n%s", err, file)
		}
		if again.Hash() != c.Hash() {
			t.Fatal(fmt.Errorf("got  %s\nwant %s\nby\n%s", again.Canonical(), c.Canonical(), file))
		}
	})
}
