package chains

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

func TestCompile_Voice(t *testing.T) {
	p := compile(t, voiceChain(), voiceFns())
	if got, want := p.In(), one[functions.Audio](); cmp.Diff(got, want) != "" {
		t.Errorf("In: got %v, want %v", got, want)
	}
	if got, want := p.Out(), many[functions.Audio](); cmp.Diff(got, want) != "" {
		t.Errorf("Out: got %v, want %v", got, want)
	}
	if got, ok := p.StepOut("route"); !ok || cmp.Diff(got, many[Sentence]()) != "" {
		t.Errorf("StepOut(route): got %v, %v, want a stream of Sentence", got, ok)
	}
	if _, ok := p.StepOut("nobody"); ok {
		t.Error("StepOut(nobody): got a type")
	}
	if got, want := p.Steps(), []string{"transcribe", "route", "sorry", "answer", "speak"}; !slices.Equal(got, want) {
		t.Errorf("Steps: got %v, want %v", got, want)
	}
	fns, models := p.WakeSet()
	if got, want := names(fns), "answer sorry speak transcribe"; got != want {
		t.Errorf("WakeSet: got functions %s, want %s", got, want)
	}
	if got, want := names(models), "llm"; got != want {
		t.Errorf("WakeSet: got models %s, want %s", got, want)
	}
	if got := names(p.Functions()); got != "answer sorry speak transcribe" {
		t.Errorf("Functions: got %s", got)
	}
	if p.Hash() != p.Graph().Hash() {
		t.Error("Hash: not that of the graph")
	}
}

func names(refs []functions.Ref) string {
	var s []string
	for _, r := range refs {
		s = append(s, r.Name)
	}
	return strings.Join(s, " ")
}

func TestPlan_WakeSetWithoutLazy(t *testing.T) {
	lazy := func(st spec.Step) spec.Step { st.Lazy = true; return st }
	c := chain(
		call("transcribe", "in"),
		pick("transcribe",
			when("it.text == ''", lazy(call("sorry", "transcribe"))),
			when("", lazy(call("answer", "transcribe"))),
		),
		each("speak", "route"),
	)
	p := compile(t, c, voiceFns())
	fns, models := p.WakeSet()
	if got, want := names(fns), "speak transcribe"; got != want {
		t.Errorf("WakeSet: got functions %s, want %s", got, want)
	}
	if len(models) != 0 {
		t.Errorf("WakeSet: got models %v, want none: only a lazy step uses one", models)
	}
	if got, want := names(p.Models()), "llm"; got != want {
		t.Errorf("Models: got %s, want %s", got, want)
	}

	c.Steps[1].Cases[1].Steps[0].Lazy = false
	p = compile(t, c, voiceFns())
	if fns, models = p.WakeSet(); names(fns) != "answer speak transcribe" || names(models) != "llm" {
		t.Errorf("WakeSet: got %v, %v, want answer and its model too", fns, models)
	}
}

func TestGraph(t *testing.T) {
	g, err := NewGraph(voiceChain(), voiceFns(), models(voiceFns()))
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseGraph(g.Canonical())
	if err != nil {
		t.Fatal(err)
	}
	if again.Hash() != g.Hash() || functions.DigestOf(g.Canonical()) != g.Hash() {
		t.Error("the hash does not survive the canonical form")
	}
	if _, err := Compile(again, voiceFns()); err != nil {
		t.Errorf("Compile of a parsed graph: %v", err)
	}

	// Whatever it is made of changes the hash; positions do not.
	placed := voiceChain()
	placed.Steps[0].Pos = "voice.yaml:3:5"
	if other, _ := NewGraph(placed, voiceFns(), models(voiceFns())); other.Hash() != g.Hash() {
		t.Error("a position changes the hash")
	}
	fns := voiceFns()
	fns["speak"].Idle = time.Second
	if other, _ := NewGraph(voiceChain(), fns, models(fns)); other.Hash() == g.Hash() {
		t.Error("another version of a function does not change the hash")
	}
	ms := models(voiceFns())
	ms["llm"].Context = 512
	if other, _ := NewGraph(voiceChain(), voiceFns(), ms); other.Hash() == g.Hash() {
		t.Error("another version of a model does not change the hash")
	}
}

func TestNewGraph_Unknown(t *testing.T) {
	c := voiceChain()
	c.Steps[0].Func, c.Steps[0].Pos = "transcibe", "voice.yaml:3:5"
	c.Steps[1].Cases[1].Steps[0].Pos = "voice.yaml:9:17"
	_, err := NewGraph(c, voiceFns(), nil)
	want := []string{
		`chain voice: voice.yaml:3:5: step transcribe: not found: function "transcibe" (did you mean "transcribe"?); deploy it first or correct the name`,
		`voice.yaml:9:17: step answer: not found: model "llm", which function answer uses; deploy the model first`,
	}
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if !errors.Is(err, functions.ErrNotFound) {
		t.Error("the error does not wrap ErrNotFound")
	}
}

func TestParseGraph_Faults(t *testing.T) {
	d := string(functions.DigestOf(nil))
	for name, data := range map[string]string{
		"nothing":        ``,
		"not JSON":       `{`,
		"unknown key":    `{"spec":{},"more":1}`,
		"two of them":    `{"spec":{}} {}`,
		"another name":   `{"spec":{},"functions":{"a":{"name":"b","digest":"` + d + `"}}}`,
		"not a digest":   `{"spec":{},"models":{"a":{"name":"a","digest":"sha256:12"}}}`,
		"too many bytes": `"` + strings.Repeat("x", maxGraphBytes) + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseGraph([]byte(data)); !errors.Is(err, functions.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
		})
	}
}

// n is a type for chains whose types do not matter.
type n struct {
	N int `json:"n"`
}

// numberFns are functions over n.
func numberFns() map[string]*functions.Manifest {
	return byName(
		fn("inc", one[n](), one[n]()), fn("double", one[n](), one[n]()), fn("text", one[n](), one[Sentence]()),
		fn("count", one[n](), many[n]()), fn("spell", one[n](), many[Sentence]()), fn("read", one[Sentence](), one[n]()),
	)
}

func TestCompile_Faults(t *testing.T) {
	at := func(pos string, st spec.Step) spec.Step { st.Pos = pos; return st }
	tests := []struct {
		name  string
		chain spec.Chain
		want  []string // the lines, without "chain test: "
	}{
		{"no steps", spec.Chain{Name: "test", Out: "in"}, []string{
			"invalid: no call reads the chain's input, so it has no type; begin with a call that has from: in",
			"invalid: the chain has no steps",
		}},
		{"name", func() spec.Chain { c := chain(call("inc", "in")); c.Name = "Test"; c.Pos = "x:1"; return c }(), []string{
			`x:1: invalid: chain name "Test": use a lower-case letter, then letters, digits and hyphens, at most 63 in all`,
		}},
		{"priority", func() spec.Chain { c := chain(call("inc", "in")); c.Priority = "high"; c.Pos = "x:1"; return c }(), []string{
			`x:1: invalid: priority: "high" is unknown; use interactive or batch, or leave it out`,
		}},
		{"names of steps", chain(at("x:1", call("inc", "in")), at("x:2", as("in", call("inc", "inc"))), at("x:3", as("A b", call("inc", "inc"))), at("x:4", call("inc", "A b"))), []string{
			`x:2: step in: invalid: "in" is the name of the chain's input; give the step another name`,
			`x:3: invalid: step name "A b": use a lower-case letter, then letters, digits and hyphens, at most 63 in all`,
			`x:4: step inc: invalid: another step at x:1 has this name already; give this one a name of its own`,
		}},
		{"unknown step", chain(at("x:1", call("inc", "in")), at("x:2", call("double", "icn"))), []string{
			`x:2: step double: not found: from: step "icn" (did you mean "in"?)`,
		}},
		{"no from, no out", func() spec.Chain { c := chain(call("inc", "in"), at("x:2", call("double", ""))); c.Out = ""; return c }(), []string{
			"x:2: step double: invalid: from is empty; name a step or in",
			"invalid: out is empty; name a step or in",
		}},
		{"declared later", chain(at("x:1", call("inc", "in")), at("x:2", as("b", call("inc", "c"))), at("x:3", as("c", call("inc", "in")))), []string{
			`x:2: step b: invalid: from: step "c": it, at x:3, is declared further down; move it above`,
		}},
		{"itself", chain(at("x:1", call("inc", "in")), at("x:2", as("b", call("inc", "b")))), []string{
			"x:2: step b: invalid: from: the steps wait for one another in a cycle: b reads b",
		}},
		{"cycle", chain(at("x:1", call("inc", "in")), at("x:2", as("b", call("inc", "c"))), at("x:3", as("c", call("double", "b")))), []string{
			"x:2: step b: invalid: from: the steps wait for one another in a cycle: b reads c reads b",
		}},
		{"a branch that reads its switch", chain(call("inc", "in"), at("x:2", pick("inc", when("", at("x:3", call("double", "route")))))), []string{
			"x:3: step double: invalid: from: the steps wait for one another in a cycle: double reads route reads double",
		}},
		{"into a branch", chain(call("inc", "in"), pick("inc", when("", at("x:3", call("double", "inc")))), at("x:4", as("b", call("inc", "double")))), []string{
			`x:4: step b: invalid: from: step "double": it, at x:3, is inside a branch, and nobody sees into a branch; read the switch instead`,
		}},
		{"from one branch into another", chain(call("inc", "in"), pick("inc", when("it.n > 1", call("double", "inc")), when("", at("x:3", as("b", call("inc", "double")))))), []string{
			`x:3: step b: invalid: from: step "double": it is inside a branch, and nobody sees into a branch; read the switch instead`,
		}},
		{"call on a stream", chain(call("count", "in"), at("x:2", call("inc", "count"))), []string{
			"x:2: step inc: invalid: count is a stream and inc takes one value: use each to apply it to every item, or last for the final item",
		}},
		{"each over a value", chain(call("inc", "in"), at("x:2", each("double", "inc"))), []string{
			"x:2: step double: invalid: each needs a stream and inc is one value: use call",
		}},
		{"each over the input", chain(call("inc", "in"), at("x:2", each("double", "in"))), []string{
			"x:2: step double: invalid: it takes a stream of n from the chain's input, but step inc takes n from it: one is a stream, the other is one value",
			`invalid: nobody reads what step "inc" yields; read its output, or remove the step`,
		}},
		{"each of a stream", chain(call("count", "in"), at("x:2", as("b", each("count", "count")))), []string{
			"x:2: step b: invalid: each applies a function that gives one value, and count gives a stream",
		}},
		{"last of a value", chain(call("inc", "in"), at("x:2", last("inc"))), []string{
			"x:2: step last: invalid: last needs a stream and inc is one value: use inc itself",
		}},
		{"switch over a stream", chain(call("count", "in"), at("x:2", pick("count", pass("", "in")))), []string{
			"x:2: step route: invalid: a switch routes one value and count is a stream: use last for its final item, or route before the stream",
		}},
		{"types", chain(call("text", "in"), at("x:2", call("inc", "text"))), []string{
			`x:2: step inc: invalid: text gives Sentence and inc takes n: value: property "n" is required but may be missing in Sentence`,
		}},
		{"readers of the input", chain(call("inc", "in"), at("x:2", call("read", "in"))), []string{
			`x:2: step read: invalid: it takes Sentence from the chain's input, but step inc takes n from it: value: property "text" is required but may be missing in n`,
			`invalid: nobody reads what step "inc" yields; read its output, or remove the step`,
		}},
		{"nobody reads the input", chain(at("x:1", pick("in", pass("", "in")))), []string{
			"invalid: no call reads the chain's input, so it has no type; begin with a call that has from: in",
		}},
		{"no else", chain(call("inc", "in"), at("x:2", pick("inc", pass("it.n > 1", "inc")))), []string{
			"x:2: step route: invalid: the switch has no else: add one as the last case, so that every value has a way",
		}},
		{"else in the middle", chain(call("inc", "in"), at("x:2", pick("inc", pass("", "inc"), pass("", "in")))), []string{
			"x:2: step route: invalid: case 1 is an else; it must be the last case",
		}},
		{"no cases", chain(call("inc", "in"), at("x:2", pick("inc"))), []string{"x:2: step route: invalid: the switch has no cases"}},
		{"many cases", chain(call("inc", "in"), at("x:2", pick("inc", slices.Repeat([]spec.Case{pass("", "in")}, maxCases+1)...))), []string{
			"x:2: step route: invalid: 33 cases; the limit is 32",
		}},
		{"branches of two types", chain(call("inc", "in"), at("x:2", pick("inc", pass("it.n > 1", "inc"), spec.Case{Steps: []spec.Step{call("text", "inc")}, Out: "text", Pos: "x:4"}))), []string{
			`x:4: step route: invalid: case 2 gives Sentence and the first gives n; all cases must give the same: value: property "n" is required but may be missing in Sentence`,
		}},
		{"branches of two kinds", chain(call("inc", "in"), at("x:2", pick("inc", pass("it.n > 1", "inc"), when("", call("count", "inc"))))), []string{
			"x:2: step route: invalid: case 2 gives a stream of n and the first gives n; all cases must give the same: one is a stream, the other is one value",
		}},
		{"operation", chain(call("inc", "in"), at("x:2", spec.Step{Name: "b", Op: "map", From: "inc"})), []string{
			`x:2: step b: invalid: unknown operation "map"; use call, each, last or switch`,
		}},
		{"options", chain(call("count", "in"), spec.Step{Name: "last", Op: spec.OpLast, From: "count", Func: "inc", Timeout: 1, Lazy: true, Cases: []spec.Case{pass("", "in")}}), []string{
			"step last: invalid: last calls no function",
			"step last: invalid: a timeout belongs to call and each, not to last",
			"step last: invalid: lazy belongs to call and each, not to last",
			"step last: invalid: cases belong to switch, not to last",
		}},
		{"timeout", chain(spec.Step{Name: "a", Op: spec.OpCall, Func: "inc", From: "in", Timeout: -1}), []string{
			"step a: invalid: the timeout -1ns is negative",
		}},
		{"no function", chain(call("inc", "in"), at("x:2", spec.Step{Name: "b", Op: spec.OpCall, From: "inc"})), []string{
			`x:2: step b: not found: function ""; deploy it first or correct the name`,
		}},
		{"a stream that a case reads and the switch waits for", chain(call("count", "in"), last("count"), pick("last", when("", at("x:2", each("inc", "count"))))), []string{
			"x:2: step route: invalid: the case reads the stream count, but the switch can only choose when stream count has ended; route earlier, or read what the switch routes",
		}},
		{"the same by another way", chain(call("count", "in"), each("inc", "count"), last("count"), call("double", "last"), pick("double", pass("", "inc"))), []string{
			"step route: invalid: the case reads the stream inc, but the switch can only choose when stream count has ended; route earlier, or read what the switch routes",
		}},
		{"nobody reads a step", chain(at("x:1", call("inc", "in")), at("x:2", as("b", call("count", "in"))), call("double", "inc")), []string{
			`x:2: invalid: nobody reads what step "b" yields; read its output, or remove the step`,
		}},
		{"where a name is wrong, its step is not called unread", chain(
			call("inc", "in"),
			at("x:2", pick("inc", when("it.n > 1", at("x:3", as("b", call("inc", "inc"))), as("c", call("inc", "inc"))), pass("", "inc"))),
			at("x:4", as("d", each("double", "e"))), call("double", "inc")), []string{
			`x:4: step d: not found: from: step "e"`,
		}},
		{"nobody reads a step of a branch, a switch, the end of a line", chain(
			call("inc", "in"),
			at("x:2", pick("inc", when("it.n > 1", at("x:3", as("b", call("inc", "inc"))), as("c", call("inc", "inc"))), pass("", "inc"))),
			call("count", "inc"), at("x:4", as("d", each("double", "count"))), call("double", "inc")), []string{
			`x:2: invalid: nobody reads what step "route" yields; read its output, or remove the step`,
			`x:3: invalid: nobody reads what step "b" yields; read its output, or remove the step`,
			`x:4: invalid: nobody reads what step "d" yields; read its output, or remove the step`,
		}},
		{"a value that may be null", chain(call("inc", "in"), at("x:2", pick("inc", pass("it.n == null", "in"), pass("", "inc")))), []string{
			"x:2: step route: invalid: case 1: expression `it.n == null`, column 6: it.n is never null; compare it with another value, or test a field with has()",
		}},
		{"all at once", chain(at("x:1", call("inc", "nobody")), at("x:2", each("double", "inc")), at("x:3", pick("inc", pass("it.m", "in")))), []string{
			"invalid: no call reads the chain's input, so it has no type; begin with a call that has from: in",
			`x:1: step inc: not found: from: step "nobody"`,
			"x:2: step double: invalid: each needs a stream and inc is one value: use call",
			"x:3: step route: invalid: the switch has no else: add one as the last case, so that every value has a way",
			"x:3: step route: invalid: case 1: expression `it.m`, column 3: undefined field 'm' of n (did you mean \"n\"?)",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fns := numberFns()
			g, err := NewGraph(tt.chain, fns, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Compile(g, fns)
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.Split(strings.TrimPrefix(err.Error(), "chain "+tt.chain.Name+": "), "\n")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			if code := functions.CodeOf(err); code != "invalid" && code != "not_found" {
				t.Errorf("code %s", code)
			}
		})
	}
}

func TestCompile_Manifests(t *testing.T) {
	c := chain(call("inc", "in"))
	tests := []struct {
		name   string
		change func(*Graph, map[string]*functions.Manifest)
		want   string
	}{
		{"missing", func(_ *Graph, m map[string]*functions.Manifest) { delete(m, "inc") }, "its manifest is not there; deploy it again"},
		{"another version", func(_ *Graph, m map[string]*functions.Manifest) { m["inc"].Idle = 1 }, "the manifest is of version"},
		{"no schema", func(g *Graph, m map[string]*functions.Manifest) {
			m["inc"].In.Schema = nil
			g.Functions["inc"] = m["inc"].Ref()
		}, "its input has no schema"},
		{"not a schema", func(g *Graph, m map[string]*functions.Manifest) {
			m["inc"].Out.Schema = &functions.Schema{Type: "array"}
			g.Functions["inc"] = m["inc"].Ref()
		}, "its output: invalid: schema: an array needs items"},
		{"a model that is not pinned", func(g *Graph, m map[string]*functions.Manifest) {
			m["inc"].Uses.Models = []string{"llm"}
			g.Functions["inc"] = m["inc"].Ref()
		}, `uses model "llm", which the graph does not pin`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fns := numberFns()
			g, err := NewGraph(c, fns, nil)
			if err != nil {
				t.Fatal(err)
			}
			tt.change(g, fns)
			_, err = Compile(g, fns)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("one fault is told several times:\n%v", err)
			}
		})
	}
}

func TestCompile_IsBounded(t *testing.T) {
	var wide []spec.Step
	for range maxSteps + 1 {
		wide = append(wide, call("inc", "in"))
	}
	deep := []spec.Step{call("inc", "in")}
	for range 200 {
		deep = []spec.Step{pick("in", when("", deep...))}
	}
	for name, c := range map[string]spec.Chain{"steps": chain(wide...), "depth": chain(deep...)} {
		t.Run(name, func(t *testing.T) {
			g, err := NewGraph(c, numberFns(), nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Compile(g, numberFns())
			if err == nil || !strings.Contains(err.Error(), "split the chain") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one fault", err)
			}
		})
	}
}

// TestCompile_InputType: of several readers, the one whose type suits all decides.
func TestCompile_InputType(t *testing.T) {
	fns := byName(fn("speech", one[functions.Audio](), one[n]()), fn("bytes", one[functions.Blob](), one[n]()))
	for _, c := range []spec.Chain{
		chain(call("speech", "in"), call("bytes", "in"), pick("speech", pass("it.n > 1", "speech"), pass("", "bytes"))),
		chain(call("bytes", "in"), call("speech", "in"), pick("speech", pass("it.n > 1", "speech"), pass("", "bytes"))),
	} {
		if got, want := compile(t, c, fns).In(), one[functions.Audio](); cmp.Diff(got, want) != "" {
			t.Errorf("got %v, want Audio", got.Schema)
		}
	}
}
