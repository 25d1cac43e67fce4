package chains

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
)

// Loose is full of what may be null.
type Loose struct {
	S    *string          `json:"s"`
	N    *int             `json:"n,omitempty"`
	B    *bool            `json:"b"`
	L    *[]int           `json:"l"`
	M    *map[string]*int `json:"m"`
	O    *Inner           `json:"o"`
	Os   []*Inner         `json:"os"`
	Opt  string           `json:"opt,omitempty"`
	Sure string           `json:"sure"`
}

type Inner struct {
	T *string `json:"t"`
	K int     `json:"k"`
}

func TestCEL_NullIsTestedFirst(t *testing.T) {
	s := functions.SchemaFor[Loose]()
	env, err := newCELEnv(s, s)
	if err != nil {
		t.Fatal(err)
	}
	safe := []string{
		"it.s == null", "null != it.s", "has(it.s)", "it.s == 'a'", "it.s in ['a']", "it.s != in.s",
		"it.s != null && it.s.size() == 1", "it.s.size() == 1 && it.s != null", "it.s == null || it.s.size() == 1",
		"it.s.size() == 1 || it.s == null", "has(it.s) && it.s.size() == 1", "!has(it.s) || it.s.size() == 1",
		"!(it.s == null) && it.s.size() == 1", "!(it.s == null || it.n == null) && it.s.size() == it.n",
		"it.s == 'a' && it.s.size() == 1", "it.s != 'a' || it.s.size() == 1", "it.n == 1 ? it.n > 0 : true",
		"(it.s == null ? '' : it.s) == ''", "(has(it.n) ? it.n + 1 : 0) > 0", "it.s != null && it.n != null && it.s.size() == it.n",
		"it.b == true", "it.b != null && it.b", "it.o != null && it.o.k == 1", "it.o != null && it.o.t != null && it.o.t.size() == 1",
		"has(it.o) && has(it.o.t) && it.o.t.size() == 1", "it.l != null && it.l.exists(x, x > 1)", "it.l != null && it.l[0] == 1 && size(it.l) > 1",
		"it.m != null && 'a' in it.m && it.m['a'] != null && it.m['a'] > 1", "it.m != null && it.m.a != null && it.m.a > 1",
		"it.os.exists(o, o != null && o.k == 1)", "it.os.all(o, o == null || o.t == null || o.t == '')", "it.os.filter(o, o != null).size() == 0",
		"it.os[0] != null && it.os[0].k == 1", "it.os.map(o, o == null).size() == 0", "it.opt == '' && it.opt.size() == 0 && has(it.opt)",
		"type(it.s) == string", "in.s != null && in.s.size() == 1", "it.s != null && it.s != null && it.s.size() > 0",
		"it.os.exists(it, it != null && it.k == 1)", "it.o == in.o", "it.os.map(o, o != null, o.k)[0] == 1",
	}
	for _, expr := range safe {
		if _, faults := env.compile(expr); len(faults) > 0 {
			t.Errorf("%s: refused: %v", expr, said(expr, faults))
		}
	}

	unsafe := []struct{ expr, want string }{
		{"it.s.size() == 1", ", column 3: it.s may be null; test it first, as in it.s != null && ..."},
		{"it.n > 1", "it.n may be null"},
		{"it.n + 1 == 2", "it.n may be null"},
		{"it.b", "it.b may be null"},
		{"!it.b", "it.b may be null"},
		{"it.b ? true : false", "it.b may be null"},
		{"it.b || it.opt == ''", "it.b may be null"},
		{"it.o.k == 1", "it.o may be null"},
		{"has(it.o.t)", "it.o may be null"},
		{"it.o.t == null", "it.o may be null"},
		{"it.o != null && it.o.t.size() == 1", "it.o.t may be null"},
		{"it.l[0] == 1", "it.l may be null"},
		{"1 in it.l", "it.l may be null"},
		{"it.l.exists(x, x > 1)", "it.l may be null"},
		{"it.m != null && it.m['a'] > 1", `it.m["a"] may be null`},
		{"it.os[0].k == 1", "it.os[0] may be null"},
		{"it.os.exists(o, o.k == 1)", "o may be null"},
		{"it.os.filter(o, o == null)[0].k == 1", "a value that may be null is used; compare it with null first"},
		{"[it.o, in.o][0].k == 1", "a value that may be null is used"},
		{"{'a': it.o}['a'].k == 1", "a value that may be null is used"},
		{"(it.opt == '' ? it.o : in.o).k == 1", "a value that may be null is used"},
		{"it.s != null || it.s.size() == 1", "it.s may be null"},
		{"it.s == null && it.s.size() == 1", "it.s may be null"},
		{"it.s != null && in.s.size() == 1", "in.s may be null"},
		{"(it.s != null || it.opt == '') && it.s.size() == 1", "it.s may be null"},
		{"it.o != null && it.os.exists(it, it.o == null)", "undefined field"},
		{"it.o != null && it.os.exists(o, in.os.exists(it, it.k == 1))", "it may be null"},
		{"it.s == null ? it.s.size() == 1 : true", "it.s may be null"},
		{"it.sure in it.m", "it.m may be null"},
		{"it.m != null && it.s in it.m", "it.s may be null"},
		{"it.s + 'a' == 'a'", "it.s may be null"},
		{"it.sure == null", ", column 9: it.sure is never null; compare it with another value, or test a field with has()"},
		{"it.opt != null", "it.opt is never null"},
		{"it == null", "it is never null"},
		{"it.sure.size() == null", "this value is never null"},
	}
	for _, tt := range unsafe {
		_, faults := env.compile(tt.expr)
		if got := said(tt.expr, faults); len(got) != 1 || !strings.Contains(got[0], tt.want) {
			t.Errorf("%s: got %q, want one that says %q", tt.expr, got, tt.want)
		}
	}
}

// TestCEL_NoNullSurprises: an expression that is accepted never fails at a null, whatever is null.
func TestCEL_NoNullSurprises(t *testing.T) {
	s := functions.SchemaFor[Loose]()
	env, err := newCELEnv(s, s)
	if err != nil {
		t.Fatal(err)
	}
	ran := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		text := boolean(t, []string{"it", "in"}, 4)
		x, faults := env.compile(text)
		if len(faults) > 0 {
			for _, says := range said(text, faults) {
				if !strings.Contains(says, "may be null") {
					t.Fatalf("%s: %s", text, says)
				}
			}
			ran["refused"]++
			return
		}
		ran["accepted"]++
		x.site = site{nth: 1, text: text}
		r := &route{it: s, in: s, exprs: []*expr{x}}
		in, err := value.Any(s, loose(t))
		if err != nil {
			t.Fatal(err)
		}
		it := loose(t)
		_, err = r.choose(context.Background(), functions.Item{Value: it}, func() (any, error) { return in, nil })
		if err != nil && !strings.Contains(err.Error(), "index out of bounds") && !strings.Contains(err.Error(), "no such key") {
			t.Fatalf("%s: %v", text, err)
		}
	})
	t.Log(ran)
	if ran["refused"] < 10 || ran["accepted"] < 10 {
		t.Errorf("%v: the test has lost its force", ran)
	}
}

// boolean returns an expression that yields a bool if nothing is null. Of are the names of values of type Loose.
func boolean(t *rapid.T, of []string, depth int) string {
	v := rapid.SampledFrom(of).Draw(t, "value")
	form := rapid.IntRange(0, 11).Draw(t, "form")
	if depth == 0 && form < 6 {
		form += 6
	}
	sub := func() string { return boolean(t, of, depth-1) }
	switch form {
	case 0, 1:
		return "(" + sub() + " && " + sub() + ")"
	case 2, 3:
		return "(" + sub() + " || " + sub() + ")"
	case 4:
		return "!(" + sub() + ")"
	case 5:
		return "(" + sub() + " ? " + sub() + " : " + sub() + ")"
	case 6, 7, 8:
		field := rapid.SampledFrom([]string{"s", "n", "b", "l", "m", "o", "o.t", "os[0]", "os[0].t", "m['a']"}).Draw(t, "field")
		op := rapid.SampledFrom([]string{"==", "!="}).Draw(t, "op")
		if form == 8 && !strings.HasSuffix(field, "]") {
			return fmt.Sprintf("has(%s.%s)", v, field)
		}
		return fmt.Sprintf("%s.%s %s null", v, field, op)
	}
	return v + rapid.SampledFrom([]string{
		".s.size() == 1", ".n > 1", ".b", ".l[0] == 1", ".m['a'] > 1", ".o.k == 1", ".o.t.size() == 1", ".os[0].k == 1", ".s == 'a'",
		".os.exists(o, o.k == 1)", ".os.exists(o, o != null && o.k == 1)", ".os.filter(o, o != null)[0].k == 1", ".os.map(o, o == null ? 1 : o.k)[0] == 1",
		".l.all(x, x > 0)", ".s in ['a', 'b']", ".os.all(o, o == null || o.t == null || o.t.size() > 0)",
	}).Draw(t, "use")
}

// loose returns a value of type Loose, whose parts are null or not.
func loose(t *rapid.T) []byte {
	text, number, yes := "a", 1, true
	v := Loose{Os: []*Inner{}}
	set := func(name string) bool { return rapid.Bool().Draw(t, name) }
	inner := func() *Inner {
		switch {
		case set("inner null"):
			return nil
		case set("inner t"):
			return &Inner{T: &text, K: 1}
		}
		return &Inner{}
	}
	if set("s") {
		v.S = &text
	}
	if set("n") {
		v.N = &number
	}
	if set("b") {
		v.B = &yes
	}
	if set("l") {
		v.L = &[]int{1}
	}
	if set("m") {
		v.M = &map[string]*int{"a": &number}
		if set("m a") {
			v.M = &map[string]*int{"a": nil}
		}
	}
	v.O = inner()
	for range rapid.IntRange(0, 2).Draw(t, "os") {
		v.Os = append(v.Os, inner())
	}
	b, err := value.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
