package specfile

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

const voice = `chain: voice
steps:
  - call: transcribe
  - switch: transcribe
    cases:
      - when: it.text == "" || it.confidence < 0.35
        steps: [{call: sorry}]
      - else:
        steps: [{call: answer}]
  - each: speak
out: speak
`

func TestParse_Voice(t *testing.T) {
	got, err := Parse("voice.yaml", []byte(voice))
	if err != nil {
		t.Fatal(err)
	}
	want := spec.Chain{Name: "voice", Out: "speak", Pos: "voice.yaml:1:1", Steps: []spec.Step{
		{Name: "transcribe", Op: spec.OpCall, Func: "transcribe", From: "in", Pos: "voice.yaml:3:5"},
		{Name: "route", Op: spec.OpSwitch, From: "transcribe", Pos: "voice.yaml:4:5", Cases: []spec.Case{
			{When: `it.text == "" || it.confidence < 0.35`, Out: "sorry", Pos: "voice.yaml:6:15", Places: []spec.Place{{Line: 6, Col: 15}}, Steps: []spec.Step{
				{Name: "sorry", Op: spec.OpCall, Func: "sorry", From: "transcribe", Pos: "voice.yaml:7:17"},
			}},
			{Out: "answer", Pos: "voice.yaml:8:9", Steps: []spec.Step{
				{Name: "answer", Op: spec.OpCall, Func: "answer", From: "transcribe", Pos: "voice.yaml:9:17"},
			}},
		}},
		{Name: "speak", Op: spec.OpEach, Func: "speak", From: "route", Pos: "voice.yaml:10:5"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("chain (-want +got):\n%s", diff)
	}
}

func TestParse_EveryKey(t *testing.T) {
	got, err := Parse("x.yaml", []byte(`
chain: all
steps:
  - {call: split, name: parts, timeout: 1m30s, lazy: true}
  - {last: parts}
  - {last: parts, name: final}
  - switch: final
    name: pick
    cases:
      - when: >-
          it.n > 1 &&
          in.ok
        out: last
      - when: true
        steps:
          - {call: shorten, from: last, lazy: false}
          - {call: tidy}
        out: shorten
      - else:
        out: in
out: pick
`))
	if err != nil {
		t.Fatal(err)
	}
	got.Walk(func(st spec.Step) {
		if !strings.HasPrefix(st.Pos, "x.yaml:") {
			t.Errorf("step %s: position %q", st.Name, st.Pos)
		}
	})
	want := spec.Chain{Name: "all", Out: "pick", Steps: []spec.Step{
		{Name: "parts", Op: spec.OpCall, Func: "split", From: "in", Timeout: 90 * time.Second, Lazy: true},
		{Name: "last", Op: spec.OpLast, From: "parts"},
		{Name: "final", Op: spec.OpLast, From: "parts"},
		{Name: "pick", Op: spec.OpSwitch, From: "final", Cases: []spec.Case{
			{When: "it.n > 1 && in.ok", Out: "last"},
			{When: "true", Out: "shorten", Steps: []spec.Step{
				{Name: "shorten", Op: spec.OpCall, Func: "shorten", From: "last"},
				{Name: "tidy", Op: spec.OpCall, Func: "tidy", From: "shorten"},
			}},
			{Out: "in"},
		}},
	}}
	if got, want := string(got.Canonical()), string(want.Canonical()); got != want {
		t.Errorf("canonical form\n got %s\nwant %s", got, want)
	}
}

func TestParse_Faults(t *testing.T) {
	tests := []struct {
		name, yaml string
		want       []string
	}{
		{"empty", "", []string{"x.yaml:1:1: the file is empty; begin with chain: NAME"}},
		{"only a comment", "# nothing\n", []string{"x.yaml:1:1: the file is empty; begin with chain: NAME"}},
		{"null", "~\n", []string{"x.yaml:1:1: a chain is a mapping of keys to values, not nothing"}},
		{"two documents", "chain: a\n---\nchain: b\n", []string{"x.yaml:2:1: a second document begins; a file has one chain"}},
		{"a broken second document", "chain: a\n---\n[", []string{"x.yaml:4:1: while parsing a flow node: did not find expected node content"}},
		{"not yaml", "chain: [a\n", []string{"x.yaml:2:1: while parsing a flow sequence: did not find expected ',' or ']'"}},
		{"a second colon", "chain: a: b\n", []string{"x.yaml:1:9: mapping values are not allowed in this context"}},
		{"a list", "- a\n", []string{"x.yaml:1:1: a chain is a mapping of keys to values, not a list"}},
		{"nothing in it", "{}\n", []string{"x.yaml:1:1: chain: is missing", "x.yaml:1:1: steps: is missing"}},
		{"unknown and duplicate keys, all told, in order", `chain: a
stepps: []
chain: b
steps:
  - call: f
    form: in
    call: g
  - switch: f
    timeout: 5s
    cases:
      - when: x
        then: y
        out: in
      - else:
        out: in
`, []string{
			`x.yaml:2:1: unknown key "stepps"; a chain has chain, interrupt, priority, steps, out`,
			`x.yaml:3:1: key "chain" stands twice, first at line 1`,
			`x.yaml:6:5: unknown key "form"; a step with call has call, name, from, timeout, lazy`,
			`x.yaml:7:5: key "call" stands twice, first at line 5`,
			`x.yaml:9:5: unknown key "timeout"; a step with switch has switch, name, cases`,
			`x.yaml:12:9: unknown key "then"; a case has when, else, steps, out`,
		}},
		{"a step without a verb", "chain: a\nsteps:\n  - {name: x}\n", []string{"x.yaml:3:5: a step needs one of call, each, last, switch"}},
		{"a step with two verbs", "chain: a\nsteps:\n  - {call: f, each: g}\n", []string{"x.yaml:3:15: a step is one thing: it is call already, so it can't be each"}},
		{"a step that is text", "chain: a\nsteps:\n  - f\n", []string{`x.yaml:3:5: a step is a mapping of keys to values, not "f"`}},
		{"a verb that is misspelt", "chain: a\nsteps:\n  - {name: x, cal: f}\n", []string{`x.yaml:3:15: unknown key "cal"; a step has call, each, last, switch, name, from, timeout, lazy, cases`}},
		{"no steps", "chain: a\nsteps: []\n", []string{"x.yaml:2:8: steps is empty"}},
		{"steps that are text", "chain: a\nsteps: f\n", []string{`x.yaml:2:8: steps is a list, not "f"`}},
		{"values of the wrong kind", "chain: [a]\nsteps:\n  - {call: , timeout: 5, lazy: maybe}\n  - {each: f, timeout: -1s}\n", []string{
			"x.yaml:1:8: chain is text, not a list",
			"x.yaml:3:6: call is empty",
			`x.yaml:3:23: timeout: "5" is not a duration; write it like 5s or 250ms`,
			`x.yaml:3:32: lazy is true or false, not "maybe"`,
			"x.yaml:4:24: timeout: -1s is not positive; leave it out if there is none",
		}},
		{"cases", `chain: a
steps:
  - switch: in
    cases:
      - {when: a, else: , out: in}
      - {else: , out: in}
      - {steps: [{call: f}]}
      - {else: [{call: f}], out: in}
      - {when: ""}
  - switch: in
  - {switch: in, cases: []}
`, []string{
			"x.yaml:5:19: a case has when or else, not both",
			"x.yaml:6:10: else is the last case; no case comes after it",
			"x.yaml:7:9: a case needs when: EXPRESSION, or else: if it is the last",
			"x.yaml:8:10: else is the last case; no case comes after it",
			"x.yaml:8:16: nothing comes after else:; its steps stand below it, in steps:",
			"x.yaml:9:9: the last case needs else: instead of when:, so that every value has a way",
			"x.yaml:9:9: a case without steps needs out: STEP, a step from around the switch or in",
			"x.yaml:9:10: when is empty",
			"x.yaml:10:5: cases: is missing",
			"x.yaml:11:25: cases is empty",
		}},
		{"anchors, aliases, merge keys and tags", "chain: &n a\nsteps:\n  - {call: *n}\n  - {call: !!binary aGk=}\n", []string{
			"x.yaml:1:8: an anchor (&n); write it out",
			"x.yaml:3:12: an alias (*n); write it out",
			"x.yaml:4:12: a tag (!!binary); leave it out",
		}},
		{"a key that is no word", "? [a]\n: b\nchain: a\nsteps: [{call: f}]\n", []string{"x.yaml:1:3: a key is a word, not a list"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("x.yaml", []byte(tt.yaml))
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			var f *Fault
			if !errors.As(err, &f) || f.File != "x.yaml" || !errors.Is(err, functions.ErrInvalid) {
				t.Errorf("got fault %+v of an error %v, want a fault that is ErrInvalid", f, err)
			}
		})
	}
}

// placed is what begins every fault's text.
var placed = regexp.MustCompile(`^x\.yaml:[1-9]\d*:[1-9]\d*: `)

func TestParse_IsBounded(t *testing.T) {
	bomb := "a: &a [x]\n"
	for c := byte('b'); c < 'z'; c++ {
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 20) + "]\n"
	}
	tests := map[string]string{
		"size":          "chain: a\n" + strings.Repeat("#", maxBytes),
		"flow nesting":  strings.Repeat("[", 100_000),
		"block nesting": strings.Repeat("- ", 100_000),
		"aliases":       bomb,
		"faults":        "chain: a\nsteps:\n" + strings.Repeat("  - {}\n", 10_000),
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("x.yaml", []byte(data))
			if err == nil {
				t.Fatal("no error")
			}
			if !placed.MatchString(err.Error()) {
				t.Errorf("%.200v has no place", err)
			}
			if lines := strings.Count(err.Error(), "\n") + 1; lines > maxFaults+1 {
				t.Errorf("%d lines of faults, want at most %d", lines, maxFaults+1)
			}
		})
	}
}
