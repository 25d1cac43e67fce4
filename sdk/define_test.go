package sdk_test

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sdk"
	"github.com/google/go-cmp/cmp"
)

type clip struct {
	PCM []byte `json:"pcm"`
}

type text struct {
	Lang       string  `json:"lang"`
	Body       string  `json:"body"`
	Confidence float64 `json:"confidence"`
}

type odd struct {
	C chan int `json:"c"`
}

var (
	fast      = sdk.NewFunc[clip, text]("fast")
	precise   = sdk.NewFunc[clip, text]("precise")
	translate = sdk.NewFunc[text, text]("translate")
	cut       = sdk.NewFunc[text, sdk.Stream[text]]("cut")
	gather    = sdk.NewFunc[sdk.Stream[text], text]("gather")
	strange   = sdk.NewFunc[odd, text]("strange")
	misnamed  = sdk.NewFunc[clip, text]("Fast_ASR")
)

func TestDefine_RecordsTheChain(t *testing.T) {
	c, err := sdk.Define("meeting", func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[sdk.Stream[text]] {
		draft := sdk.Call(s, fast, in, sdk.Timeout(5*time.Second))
		best := sdk.Switch(s, draft,
			sdk.When(` it.confidence < 0.8 `, func() sdk.Val[text] { return sdk.Call(s, precise, in, sdk.Lazy(), sdk.As("again")) }),
			sdk.When(`it.lang != "en"`, func() sdk.Val[text] {
				english := sdk.Call(s, translate, draft)
				return sdk.SwitchAs(s, "certain", english,
					sdk.When(`it.confidence == 1.0`, func() sdk.Val[text] { return english }),
					sdk.Else(func() sdk.Val[text] { return draft }))
			}),
			sdk.Else(func() sdk.Val[text] { return draft }))
		parts := sdk.Each(s, translate, sdk.Call(s, cut, best), sdk.As("each-part"))
		last := sdk.Last(s, parts)
		return sdk.Call(s, cut, sdk.Last(s, sdk.Call(s, cut, last, sdk.As("cut-2")), sdk.As("final")), sdk.As("cut-3"))
	})
	if err != nil {
		t.Fatal(err)
	}
	want := spec.Chain{
		Name: "meeting",
		Steps: []spec.Step{
			{Name: "fast", Op: spec.OpCall, Func: "fast", From: "in", Timeout: 5 * time.Second},
			{Name: "route", Op: spec.OpSwitch, From: "fast", Cases: []spec.Case{
				{When: "it.confidence < 0.8", Steps: []spec.Step{{Name: "again", Op: spec.OpCall, Func: "precise", From: "in", Lazy: true}}, Out: "again"},
				{When: `it.lang != "en"`, Out: "certain", Steps: []spec.Step{
					{Name: "translate", Op: spec.OpCall, Func: "translate", From: "fast"},
					{Name: "certain", Op: spec.OpSwitch, From: "translate", Cases: []spec.Case{
						{When: "it.confidence == 1.0", Out: "translate"}, {Out: "fast"},
					}},
				}},
				{Out: "fast"},
			}},
			{Name: "cut", Op: spec.OpCall, Func: "cut", From: "route"},
			{Name: "each-part", Op: spec.OpEach, Func: "translate", From: "cut"},
			{Name: "last", Op: spec.OpLast, From: "each-part"},
			{Name: "cut-2", Op: spec.OpCall, Func: "cut", From: "last"},
			{Name: "final", Op: spec.OpLast, From: "cut-2"},
			{Name: "cut-3", Op: spec.OpCall, Func: "cut", From: "final"},
		},
		Out: "cut-3",
	}
	if diff := cmp.Diff(c.Spec().WithPositions(nil), want); diff != "" {
		t.Errorf("got- want+\n%s", diff)
	}
	if c.Name() != "meeting" || c.Spec().Hash() != want.Hash() {
		t.Errorf("name %q, hash %s; want meeting, %s", c.Name(), c.Spec().Hash(), want.Hash())
	}
	in, out, err := c.Ports()
	if err != nil || in.Stream || in.Schema.Title != "clip" || !out.Stream || out.Schema.Title != "text" {
		t.Errorf("got ports %v, %v, %v", in, out, err)
	}
	d, err := c.Describe()
	if err != nil || d.Spec.Hash() != want.Hash() || len(d.Positions) != 1+11+5 {
		t.Errorf("got %d positions, %v: %v", len(d.Positions), err, d.Positions)
	}
	var uses []string
	for _, f := range d.Uses {
		uses = append(uses, fmt.Sprintf("%s: %s -> %s %v", f.Name, f.In.Schema, f.Out.Schema, f.Out.Stream))
	}
	if diff := cmp.Diff(uses, []string{"fast: clip -> text false", "precise: clip -> text false", "translate: text -> text false", "cut: text -> text true"}); diff != "" {
		t.Errorf("uses: got- want+\n%s", diff)
	}
	placed := d.Spec.WithPositions(nil).WithPositions(d.Positions)
	if diff := cmp.Diff(placed, c.Spec()); diff != "" {
		t.Errorf("positions: got- want+\n%s", diff)
	}
	for name, pos := range d.Positions {
		if !regexp.MustCompile(`^sdk/define_test.go:\d+$`).MatchString(pos) {
			t.Errorf("position of %q is %q", name, pos)
		}
	}
}

// lineOf returns the line that the fault with the fragment names.
func lineOf(t *testing.T, err error, fragment string) int {
	t.Helper()
	for line := range strings.Lines(err.Error()) {
		if strings.Contains(line, fragment) {
			m := regexp.MustCompile(`sdk/define_test.go:(\d+): `).FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("%q has no place", line)
			}
			n, _ := strconv.Atoi(m[1])
			return n
		}
	}
	t.Fatalf("no error says %q:\n%v", fragment, err)
	return 0
}

func TestDefine_ReportsAllFaultsWithTheirPlaces(t *testing.T) {
	var leaked sdk.Val[text]
	var first, switchAt, elseAt int
	_, err := sdk.Define("bad", func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] {
		first = lineHere() + 1
		draft := sdk.Call(s, fast, in)
		sdk.Call(s, fast, in) // twice: while two steps have the name, it is read
		switchAt = lineHere() + 1
		sdk.Switch(s, draft,
			sdk.When(`it.confidence < 0.8`, func() sdk.Val[text] {
				leaked = sdk.Call(s, precise, in)
				return leaked
			}))
		elseAt = lineHere() + 2
		return sdk.SwitchAs(s, "second", leaked,
			sdk.Else(func() sdk.Val[text] { return draft }),
			sdk.When(`true`, func() sdk.Val[text] { return draft }))
	})
	if !errors.Is(err, functions.ErrInvalid) {
		t.Fatalf("got %v, want an invalid error", err)
	}
	for fragment, line := range map[string]int{
		fmt.Sprintf(`there is a step "fast" already, at sdk/define_test.go:%d; name this one with sdk.As`, first): first + 1,
		`switch "route" has no Else`:            switchAt,
		`nobody reads what step "route" yields`: switchAt,
		`what switch second routes is step "precise", which is inside a branch of switch "route"`: elseAt - 1,
		`switch "second" goes on after its Else`:                                                  elseAt,
		`switch "second" has no Else at its end`:                                                  elseAt - 1,
	} {
		if got := lineOf(t, err, fragment); got != line {
			t.Errorf("%q is at line %d, want %d", fragment, got, line)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 6 {
		t.Errorf("got %d faults, want 6:\n%v", n, err)
	}
}

func TestDefine_Faults(t *testing.T) {
	simple := func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] { return sdk.Call(s, fast, in) }
	of := func(build func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text]) func() error {
		return func() error { _, err := sdk.Define("c", build); return err }
	}
	other := func() (v sdk.Val[text]) {
		sdk.MustDefine("other", func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] {
			v = sdk.Call(s, fast, in)
			return v
		})
		return v
	}()
	for name, tc := range map[string]struct {
		define func() error
		want   []string
	}{
		"chain name": {func() error { _, err := sdk.Define("My Chain", simple); return err }, []string{`chain name "My Chain"`}},
		"no func":    {func() error { _, err := sdk.Define[clip, text]("c", nil); return err }, []string{"the func that adds the steps is nil"}},
		"no steps": {func() error {
			_, err := sdk.Define("c", func(_ *sdk.Steps, in sdk.Val[clip]) sdk.Val[clip] { return in })
			return err
		}, []string{"no steps"}},
		"input type": {func() error {
			_, err := sdk.Define("c", func(s *sdk.Steps, in sdk.Val[odd]) sdk.Val[text] { return sdk.Call(s, strange, in) })
			return err
		}, []string{"the chain's input: field C: invalid: type chan int has no schema", "function strange: input: field C"}},
		"no value":    {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] { sdk.Call(s, fast, in); return sdk.Val[text]{} }), []string{"the chain's output is a Val that no step gave", `nobody reads what step "fast"`}},
		"no value in": {of(func(s *sdk.Steps, _ sdk.Val[clip]) sdk.Val[text] { return sdk.Call(s, fast, sdk.Val[clip]{}) }), []string{"the input of step fast is a Val that no step gave"}},
		"other chain": {of(func(s *sdk.Steps, _ sdk.Val[clip]) sdk.Val[text] { return sdk.Call(s, translate, other) }), []string{`is step "fast" of chain other, not of this one`}},
		"returned leak": {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] {
			var v sdk.Val[text]
			d := sdk.Call(s, fast, in)
			e := sdk.Switch(s, d, sdk.Else(func() sdk.Val[text] { v = sdk.Call(s, precise, in); return v }))
			sdk.Call(s, translate, e)
			return v
		}), []string{`the chain's output is step "precise", which is inside a branch`, `nobody reads what step "translate"`}},
		"leak between branches": {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] {
			var v sdk.Val[text]
			d := sdk.Call(s, fast, in)
			return sdk.Switch(s, d,
				sdk.When("true", func() sdk.Val[text] { v = sdk.Call(s, precise, in); return v }),
				sdk.Else(func() sdk.Val[text] { return v }))
		}), []string{`what the branch yields is step "precise", which is inside a branch of switch "route"`}},
		"reserved name": {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] { return sdk.Call(s, fast, in, sdk.As("in")) }), []string{`step name "in" is that of the chain's input`}},
		"wrong name":    {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] { return sdk.Call(s, fast, in, sdk.As("A b")) }), []string{`step name "A b"`}},
		"function name": {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] { return sdk.Call(s, misnamed, in) }), []string{`function name "Fast_ASR"`}},
		"zero func":     {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] { return sdk.Call(s, sdk.Func[clip, text]{}, in) }), []string{`function name ""`}},
		"timeout":       {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] { return sdk.Call(s, fast, in, sdk.Timeout(-1), nil) }), []string{"the timeout -1ns is not positive"}},
		"empty when": {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] {
			d := sdk.Call(s, fast, in)
			return sdk.Switch(s, d, sdk.When("  ", func() sdk.Val[text] { return d }), sdk.Else(func() sdk.Val[text] { return d }))
		}), []string{`case 1 of switch "route" has an empty expression`}},
		"no body": {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] {
			return sdk.Switch(s, sdk.Call(s, fast, in), sdk.Case[text]{}, sdk.Else[text](nil))
		}), []string{`case 1 of switch "route" has no body`, `case 2 of switch "route" has no body`}},
		"no cases": {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] {
			return sdk.Switch[text, text](s, sdk.Call(s, fast, in))
		}), []string{`switch "route" has no Else`}},
		"two elses": {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] {
			d := sdk.Call(s, fast, in)
			return sdk.Switch(s, d, sdk.Else(func() sdk.Val[text] { return d }), sdk.Else(func() sdk.Val[text] { return d }))
		}), []string{`switch "route" goes on after its Else`}},
		"two switches": {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] {
			d := sdk.Call(s, fast, in)
			d = sdk.Switch(s, d, sdk.Else(func() sdk.Val[text] { return d }))
			return sdk.Switch(s, d, sdk.Else(func() sdk.Val[text] { return d }))
		}), []string{"name this one with sdk.SwitchAs"}},
		"switch inside a switch": {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] {
			d := sdk.Call(s, fast, in)
			return sdk.Switch(s, d, sdk.Else(func() sdk.Val[text] {
				return sdk.Switch(s, d, sdk.Else(func() sdk.Val[text] { return d }))
			}))
		}), []string{`there is a step "route" already`}},
		"switch on a stream": {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] {
			parts := sdk.Call(s, cut, sdk.Call(s, fast, in))
			return sdk.Last(s, sdk.Switch(s, parts, sdk.Else(func() sdk.Val[sdk.Stream[text]] { return parts })))
		}), []string{`switch "route" routes a stream; route one value: what sdk.Last gives`}},
		"each with a streaming func": {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] {
			nested := sdk.Each(s, cut, sdk.Call(s, cut, sdk.Call(s, fast, in)), sdk.As("again"))
			return sdk.Last(s, sdk.Each(s, gather, nested))
		}), []string{"function cut gives a stream for each value", "function gather takes a stream; sdk.Each needs one that takes one value: use sdk.Call"}},
		"one function, two types": {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] {
			return sdk.Call(s, sdk.NewFunc[text, text]("fast"), sdk.Call(s, fast, in), sdk.As("fast-2"))
		}), []string{"function fast has other types here than where the chain used it before; share one handle"}},
		"two lasts": {of(func(s *sdk.Steps, in sdk.Val[clip]) sdk.Val[text] {
			one := sdk.Last(s, sdk.Call(s, cut, sdk.Call(s, fast, in)))
			return sdk.Last(s, sdk.Call(s, cut, one, sdk.As("cut-2")))
		}), []string{"name this one with sdk.As"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.define()
			if !errors.Is(err, functions.ErrInvalid) {
				t.Fatalf("got %v, want an invalid error", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no error says %q:\n%v", want, err)
				}
			}
			faults := strings.Split(strings.TrimPrefix(err.Error(), "define chain c: "), "\n")
			if len(faults) != len(tc.want) {
				t.Errorf("got %d faults, want %d:\n%v", len(faults), len(tc.want), err)
			}
			for _, f := range faults {
				if !strings.Contains(f, "sdk/define_test.go:") {
					t.Errorf("%q has no place", f)
				}
			}
		})
	}
}

// panics returns what f panics with.
func panics(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

func TestDefine_StepsOutsideOfADefinePanic(t *testing.T) {
	var kept *sdk.Steps
	var in sdk.Val[clip]
	sdk.MustDefine("done", func(s *sdk.Steps, v sdk.Val[clip]) sdk.Val[text] {
		kept, in = s, v
		return sdk.Call(s, fast, v)
	})
	for name, tc := range map[string]struct {
		f    func()
		want string
	}{
		"after":       {func() { sdk.Call(kept, precise, in) }, "a step is added to chain done after its Define has returned"},
		"nil":         {func() { sdk.Call(nil, precise, in) }, "the *Steps is nil"},
		"must define": {func() { sdk.MustDefine[clip, text]("c", nil) }, "sdk: define chain c: sdk/define_test.go:"},
	} {
		if got := fmt.Sprint(panics(tc.f)); !strings.Contains(got, tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestChain_ZeroValueSaysSo(t *testing.T) {
	var c sdk.Chain[clip, text]
	if _, _, err := c.Ports(); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("Ports: got %v", err)
	}
	if _, err := c.Describe(); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("Describe: got %v", err)
	}
}
