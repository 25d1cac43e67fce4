package spec

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func voice() Chain {
	return Chain{Name: "voice", Out: "speak", Pos: "a.go:1", Steps: []Step{
		{Name: "transcribe", Op: OpCall, Func: "transcribe", From: Input, Pos: "a.go:2"},
		{Name: "route", Op: OpSwitch, From: "transcribe", Pos: "a.go:3", Cases: []Case{
			{When: `it.text == "" || it.confidence < 0.35`, Out: "sorry", Pos: "a.go:4", Steps: []Step{
				{Name: "sorry", Op: OpCall, Func: "sorry", From: "transcribe", Lazy: true, Pos: "a.go:5"}}},
			{Out: "answer", Steps: []Step{
				{Name: "answer", Op: OpCall, Func: "answer", From: "transcribe", Timeout: 5 * time.Second}}},
		}},
		{Name: "speak", Op: OpEach, Func: "speak", From: "route"},
	}}
}

// TestChain_Canonical fixes the canonical form: if it changes, every deployed chain has another hash.
func TestChain_Canonical(t *testing.T) {
	want := `{"name":"voice","steps":[` +
		`{"name":"transcribe","op":"call","func":"transcribe","from":"in"},` +
		`{"name":"route","op":"switch","from":"transcribe","cases":[` +
		`{"when":"it.text == \"\" || it.confidence \u003c 0.35","steps":[{"name":"sorry","op":"call","func":"sorry","from":"transcribe","lazy":true}],"out":"sorry"},` +
		`{"steps":[{"name":"answer","op":"call","func":"answer","from":"transcribe","timeout_ns":5000000000}],"out":"answer"}]},` +
		`{"name":"speak","op":"each","func":"speak","from":"route"}],"out":"speak"}`
	if diff := cmp.Diff(want, string(voice().Canonical())); diff != "" {
		t.Errorf("canonical form (-want +got):\n%s", diff)
	}
	const hash = "sha256:c1d2a5322e58f353727e9fa1c00605a028280e335d932b05356093500fd3dc6b"
	if got := voice().Hash(); got != hash {
		t.Errorf("hash: got %s, want %s", got, hash)
	}
	var again Chain
	if err := json.Unmarshal(voice().Canonical(), &again); err != nil || again.Hash() != voice().Hash() {
		t.Errorf("the canonical form does not survive a decode: %v", err)
	}
}

func TestChain_HashTellsChainsApart(t *testing.T) {
	seen := map[string]string{voice().Hash(): "the chain itself"}
	for what, change := range map[string]func(*Chain){
		"name":      func(c *Chain) { c.Name = "other" },
		"out":       func(c *Chain) { c.Out = "route" },
		"step name": func(c *Chain) { c.Steps[2].Name = "say" },
		"function":  func(c *Chain) { c.Steps[2].Func = "say" },
		"operation": func(c *Chain) { c.Steps[2].Op = OpCall },
		"wiring":    func(c *Chain) { c.Steps[2].From = "transcribe" },
		"timeout":   func(c *Chain) { c.Steps[2].Timeout = 1 },
		"lazy":      func(c *Chain) { c.Steps[2].Lazy = true },
		"condition": func(c *Chain) { c.Steps[1].Cases[0].When = "true" },
		"case out":  func(c *Chain) { c.Steps[1].Cases[0].Out = Input },
		"order":     func(c *Chain) { slices.Reverse(c.Steps[1].Cases) },
	} {
		c := voice()
		change(&c)
		if other, twice := seen[c.Hash()]; twice {
			t.Errorf("%s: the hash is that of %s", what, other)
		}
		seen[c.Hash()] = what
	}
	c := voice()
	c.Pos, c.Steps[0].Pos, c.Steps[1].Cases[0].Pos = "", "b.yaml:9:9", "x"
	if c.Hash() != voice().Hash() {
		t.Error("positions change the hash")
	}
}

func TestChain_Walk(t *testing.T) {
	var got []string
	voice().Walk(func(s Step) { got = append(got, s.Name) })
	if want := []string{"transcribe", "route", "sorry", "answer", "speak"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
