package strictyaml

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
)

type upper string

func (u *upper) UnmarshalText(b []byte) error {
	if string(b) == "bad" {
		return errors.New("bad is bad")
	}
	*u = upper(strings.ToUpper(string(b)))
	return nil
}

type inner struct {
	A   int    `yaml:"a"`
	L   []int  `yaml:"l"`
	Pos Places `yaml:",pos"`
}

type doc struct {
	Text string   `yaml:"text"`
	On   bool     `yaml:"on"`
	List []inner  `yaml:"list"`
	Ptr  *inner   `yaml:"ptr"`
	Up   upper    `yaml:"up"`
	Any  any      `yaml:"any"`
	Strs []string `yaml:"strs"`
}

func TestDecode(t *testing.T) {
	var got doc
	err := Decode("f.yaml", []byte("text: no\non: true\nlist:\n  - {a: 1}\n  - l: [2,\n     3]\nptr: {a: 3}\nup: x\nany: {k: [1, 2.5, yes, null]}\nstrs: [a, 1.10]\n"), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := doc{Text: "no", On: true, List: []inner{
		{1, nil, Places{"": "f.yaml:4:5", "a": "f.yaml:4:9"}},
		{0, []int{2, 3}, Places{"": "f.yaml:5:5", "l": "f.yaml:5:8", "l/0": "f.yaml:5:9", "l/1": "f.yaml:6:6"}},
	}, Ptr: &inner{3, nil, Places{"": "f.yaml:7:6", "a": "f.yaml:7:10"}}, Up: "X",
		Any: map[string]any{"k": []any{1, 2.5, "yes", nil}}, Strs: []string{"a", "1.10"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecode_Null(t *testing.T) {
	var got doc
	if err := Decode("f.yaml", []byte("text:\nlist:\n  -\n  - null\nptr: null\n"), &got); err != nil {
		t.Fatal(err)
	}
	want := doc{List: []inner{{Pos: Places{"": "f.yaml:3:4"}}, {Pos: Places{"": "f.yaml:4:5"}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecode_Faults(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown", "text: a\nwhat: b\n", "f.yaml:2:1: unknown key \"what\"; known are text"},
		{"duplicate", "text: a\ntext: b\n", "f.yaml:2:1: key \"text\" is there already, in line 1"},
		{"duplicate inside any", "any: {a: 1, a: 2}\n", "f.yaml:1:13: key \"a\" is there already"},
		{"duplicate in a list", "list:\n  - {a: 1, a: 2}\n", "f.yaml:2:12: key \"a\""},
		{"int", "list: [{a: x}]\n", "f.yaml:1:12: want a whole number"},
		{"bool", "on: yes\n", "f.yaml:1:5: want true or false"},
		{"list", "list: {a: 1}\n", "f.yaml:1:7: want a list, not keys and values"},
		{"text", "text: [a]\n", "f.yaml:1:7: want one value, not a list"},
		{"own text", "up: bad\n", "f.yaml:1:5: bad is bad"},
		{"anchor", "text: &x a\n", "f.yaml:1:7: anchors"},
		{"alias", "text: &x a\nup: *x\n", "anchors and aliases"},
		{"syntax", "text: [\n", "f.yaml:2:1: not YAML"},
		{"top", "- a\n", "f.yaml:1:1: want keys and values, not a list"},
		{"empty", "", "f.yaml:1:1: the file is empty"},
		{"two documents", "text: a\n---\ntext: b\n", "f.yaml:2:1: a second document"},
		{"broken second document", "text: a\n---\n[", "f.yaml:4:1: not YAML"},
		{"key", "? [a]\n: b\n", "f.yaml:1:3: a key must be a plain text"},
		{"deep", "any: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), "f.yaml:1:70: nested deeper"},
		{"large", strings.Repeat("#", MaxBytes+1), "f.yaml:1:1: the file has 1048577 bytes; at most"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got doc
			err := Decode("f.yaml", []byte(tt.text), &got)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestDecode_AllFaultsAtOnce(t *testing.T) {
	var got doc
	err := Decode("f.yaml", []byte("what: 1\non: 2\nlist: [{b: 1}]\n"), &got)
	if n := strings.Count(err.Error(), "f.yaml:"); n != 3 || !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("%d faults, want 3: %v", n, err)
	}
}

// place is what begins every fault's text.
var place = regexp.MustCompile(`^f:[1-9]\d*:[1-9]\d*: [^:]`)

// checkFaults fails the test unless every error that err joins is a fault with its place.
func checkFaults(t *testing.T, err error) {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%#v joins no faults", err)
	}
	for _, err := range joined.Unwrap() {
		if _, ok := errors.AsType[*Fault](err); !ok || !errors.Is(err, functions.ErrInvalid) || !place.MatchString(err.Error()) {
			t.Errorf("%v is no fault that wraps ErrInvalid and has a place", err)
		}
	}
}

func TestPlaces_Of(t *testing.T) {
	p := Places{"": "f:1:1", "a": "f:1:4"}
	if p.Of("a") != "f:1:4" || p.Of("b") != "f:1:1" {
		t.Errorf("got %s and %s", p.Of("a"), p.Of("b"))
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("text: a\nlist: [{a: 1}]\nany: {a: [b]}"))
	f.Add([]byte("text: &a b\nup: *a"))
	f.Add([]byte("up: bad\n---\n\t"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got doc
		if err := Decode("f", data, &got); err != nil {
			checkFaults(t, err)
		}
	})
}
