package chains

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// Reading has a field of every kind that a schema knows.
type Reading struct {
	Text  string             `json:"text"`
	Count int                `json:"count"`
	Conf  float64            `json:"conf"`
	OK    bool               `json:"ok"`
	Raw   []byte             `json:"raw"`
	At    time.Time          `json:"at"`
	Dur   time.Duration      `json:"dur"`
	Words []Word             `json:"words"`
	Tags  map[string]int     `json:"tags"`
	Rows  [][]int            `json:"rows"`
	Any   any                `json:"any"`
	Clip  functions.Audio    `json:"clip"`
	Pic   functions.Blob     `json:"pic"`
	Maybe *string            `json:"maybe"`
	Word  *Word              `json:"word"`
	List  *[]int             `json:"list"`
	Opt   string             `json:"opt,omitempty"`
	OptN  int                `json:"opt_n,omitempty"`
	OptW  []Word             `json:"opt_w,omitempty"`
	OptM  map[string]float64 `json:"opt_m,omitempty"`
	OptP  *Word              `json:"opt_p,omitempty"`
	Inner struct {
		Deep struct {
			N int `json:"n"`
		} `json:"deep"`
	} `json:"inner"`
}

type Word struct {
	Text string `json:"text"`
	MS   int    `json:"ms"`
}

func reading() Reading {
	audio := functions.Attach("audio/wav", []byte("sound")).Blob
	r := Reading{
		Text: "hello world", Count: 3, Conf: 1, OK: true, Raw: []byte("raw"),
		At: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC), Dur: 90 * time.Second,
		Words: []Word{{"hello", 40}, {"world", 50}}, Tags: map[string]int{"a": 1}, Rows: [][]int{{1}, {2, 3}},
		Any: map[string]any{"x": 1}, Clip: functions.Audio{Blob: audio, SampleHz: 16000, Channels: 1, Dur: time.Second}, Pic: audio,
	}
	r.Inner.Deep.N = 7
	return r
}

func celRoute(t testing.TB, it, in *functions.Schema, exprs ...string) *route {
	t.Helper()
	env, err := newCELEnv(it, in)
	if err != nil {
		t.Fatal(err)
	}
	r := &route{it: it, in: in}
	for _, text := range exprs {
		x, faults := env.compile(text)
		if len(faults) > 0 {
			t.Fatalf("%s: %v", text, faults)
		}
		x.site = site{nth: len(r.exprs) + 1, text: text}
		r.exprs = append(r.exprs, x)
	}
	return r
}

func TestCEL_Values(t *testing.T) {
	text := "set"
	full := reading()
	full.Maybe, full.Word, full.List, full.Opt, full.OptN = &text, &Word{"w", 1}, &[]int{1}, "o", 5
	it, set, in := item(t, reading()), item(t, full), any(map[string]any{"text": "typed", "confidence": 0.5})
	tests := []struct {
		expr      string
		want, set bool // over the value without and with the optional fields
	}{
		{"true", true, true},
		{"it.ok", true, true},
		{"it.count + 1 == 4", true, true}, // an int stays one
		{"it.count % 2 == 0", false, false},
		{"it.count < 5", true, true},
		{"it.conf / 2.0 == 0.5", true, true}, // a float that CBOR shortens stays one
		{"it.conf > 0", true, true},
		{`it.text == "hello world" && it.text.startsWith("hello")`, true, true},
		{`it.text.matches("^h.*d$")`, true, true},
		{`it.raw == b"raw" && size(it.raw) == 3`, true, true},
		{`it.at < timestamp("2027-01-01T00:00:00Z") && it.at.getFullYear() == 2026`, true, true},
		{`it.at.getHours() == 8`, true, true},
		{`it.dur > duration("1m") && it.dur.getSeconds() == 90`, true, true},
		{`it.words.exists(w, w.ms + 2 > 51)`, true, true},
		{`it.words.all(w, w.text != "")`, true, true},
		{`it.words[1].text == "world" && size(it.words) == 2`, true, true},
		{`it.words.map(w, w.ms)[0] == 40`, true, true},
		{`"a" in it.tags && !("b" in it.tags) && it.tags["a"] == 1`, true, true},
		{`it.rows[1][1] == 3`, true, true},
		{`it.any.x == 1`, true, true},
		{`it.inner.deep.n == 7`, true, true},
		{`it.clip.sample_hz == 16000 && it.clip.dur == duration("1s") && it.clip.type == "audio/wav" && it.clip.size == 5`, true, true},
		{`it.pic.blob.startsWith("sha256:")`, true, true},
		{`it.pic.blob == it.clip.blob`, true, true},
		{`it.maybe == null`, true, false},
		{`it.maybe != null && it.maybe.size() == 3`, false, true},
		{`has(it.maybe)`, false, true},
		{`it.word == null`, true, false},
		{`it.word != null && it.word.ms == 1`, false, true},
		{`it.list == null`, true, false},
		{`it.list != null && it.list[0] == 1`, false, true},
		{`has(it.opt)`, false, true},
		{`it.opt == ""`, true, false},
		{`it.opt.size() == 0 && it.opt_n + 1 == 1`, true, false},
		{`size(it.opt_w) == 0 && it.opt_w.all(w, w.ms > 0)`, true, true},
		{`!("x" in it.opt_m)`, true, true},
		{`it.opt_p == null`, true, true},
		{`in.text == "typed"`, true, true},
		{`it.count in [1, 2, 3] && in.confidence < 1.0`, true, true},
		{"it.text.contains('in') // in", false, false},
	}
	schema := functions.SchemaFor[Reading]()
	for _, tt := range tests {
		r := celRoute(t, schema, functions.SchemaFor[Transcript](), tt.expr)
		for i, v := range []functions.Item{it, set} {
			taken, err := r.choose(context.Background(), v, func() (any, error) { return in, nil })
			if err != nil {
				t.Errorf("%s: %v", tt.expr, err)
				continue
			}
			if got, want := taken == 0, []bool{tt.want, tt.set}[i]; got != want {
				t.Errorf("%s, optional fields %v: got %v, want %v", tt.expr, i == 1, got, want)
			}
		}
	}
}

func TestCEL_ValuesThatAreNoObjects(t *testing.T) {
	tests := []struct {
		expr string
		s    *functions.Schema
		it   any
	}{
		{"it == 3", functions.SchemaFor[int](), 3},
		{"it > 18446744073709551614u", functions.SchemaFor[uint64](), uint64(1<<64 - 1)},
		{"it + 'c' == 'abc'", functions.SchemaFor[string](), "ab"},
		{"it", functions.SchemaFor[bool](), true},
		{"it[0] == 1.5", functions.SchemaFor[[]float64](), []float64{1.5}},
		{"it.x == 1", functions.SchemaFor[map[string]int](), map[string]int{"x": 1}},
		{"it == null", functions.SchemaFor[*int](), nil},
		{"it == null", functions.SchemaFor[*Word](), nil},
		{"it.a[0] == 'b'", functions.SchemaFor[any](), map[string]any{"a": []string{"b"}}},
		{"size(it) == 2", functions.SchemaFor[[]byte](), []byte("ab")},
		{"it < duration('1s')", functions.SchemaFor[time.Duration](), time.Millisecond},
	}
	for _, tt := range tests {
		r := celRoute(t, tt.s, tt.s, tt.expr)
		taken, err := r.choose(context.Background(), item(t, tt.it), nil)
		if err != nil || taken != 0 {
			t.Errorf("%s over %v: got case %d, %v, want 0", tt.expr, tt.it, taken, err)
		}
	}
}

// said returns what an author is told of faults, without positions.
func said(text string, faults []exprFault) []string {
	var out []string
	for _, f := range faults {
		_, says := site{nth: 1, text: text}.at(f)
		out = append(out, says)
	}
	return out
}

func TestCEL_Faults(t *testing.T) {
	tests := []struct {
		expr string
		want []string // parts of the messages
	}{
		{"it.confidense < 0.35", []string{"case 1: expression `it.confidense < 0.35`, column 3: undefined field 'confidense' of Transcript (did you mean \"confidence\"?)"}},
		{"it.whatever == 1", []string{`, column 3: undefined field 'whatever' of Transcript`}},
		{"it.text == 1", []string{`, column 9: found no matching overload for '_==_' applied to '(string, int)'`}},
		{"it.text", []string{"case 1: expression `it.text` yields string, not bool; compare it with something"}},
		{"in.any", []string{"` yields dyn, not bool; compare it with something"}},
		{"in.word", []string{"column 3: in.word may be null; test it first"}},
		{"it.text == ''\n  && it.txt == ''\n  || in.coun > 1", []string{
			"case 1: expression `it.text == '' && it.txt == '' || in.coun > 1`, line 2, column 8: undefined field 'txt' of Transcript (did you mean \"text\"?)",
			"`, line 3, column 8: undefined field 'coun' of Reading (did you mean \"count\"?)",
		}},
		{"in.words.exists(w, w.mss > 1)", []string{`, column 21: undefined field 'mss' of Word (did you mean "ms"?)`}},
		{"it.", []string{", column 4: Syntax error: no viable alternative at input '.'"}},
		{"in < 1", []string{", column 4: found no matching overload for '_<_' applied to '(<Reading>, int)'"}},
		{"that.text == ''", []string{", column 1: undeclared reference to 'that'"}},
		{"__.text == ''", []string{"expression `__.text == ''`: the name __ is reserved"}},
		{"it.text.matches('(')", []string{"error parsing regexp: missing closing ): `(`"}},
		{strings.Repeat(" ", maxExprBytes) + "true", []string{"expression `true` has 4100 bytes; the limit is 4096"}},
		{"1" + strings.Repeat(" + size([1,2,3,4,5,6,7,8,9].map(x, 1", 8) + strings.Repeat("))", 8) + " > 1", []string{"...` costs at least"}},
		{strings.Repeat("(", 1000) + "true" + strings.Repeat(")", 1000), []string{"recursion limit"}},
		{"Transcript{text: ''} == it", []string{", column 11: undeclared reference to 'Transcript'"}},
	}
	env, err := newCELEnv(functions.SchemaFor[Transcript](), functions.SchemaFor[Reading]())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		_, faults := env.compile(tt.expr)
		got := said(tt.expr, faults)
		if len(got) != len(tt.want) {
			t.Errorf("%.60s: got %q, want %q", tt.expr, got, tt.want)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], tt.want[i]) {
				t.Errorf("%.60s: got %q, want %q in it", tt.expr, got[i], tt.want[i])
			}
			if strings.Contains(got[i], "(in container") || strings.Contains(got[i], inputVar) != strings.Contains(tt.expr, inputVar) || strings.Contains(got[i], "\n") {
				t.Errorf("%.60s: %q says what the author has not written", tt.expr, got[i])
			}
		}
	}
}

func TestCEL_TypesOfOneTitle(t *testing.T) {
	type inner struct{ A Word }
	other := functions.SchemaFor[Sentence]()
	other.Title = "Word"
	s := functions.SchemaFor[inner]()
	s.Properties["B"] = other
	r := celRoute(t, s, s, "it.A.ms == 1 && it.B.text == 'b'")
	it := item(t, map[string]any{"A": Word{"a", 1}, "B": Sentence{"b"}})
	if taken, err := r.choose(context.Background(), it, nil); err != nil || taken != 0 {
		t.Errorf("got case %d, %v: two types with one title are mixed up", taken, err)
	}
	env, _ := newCELEnv(s, s)
	if _, faults := env.compile("it.B.ms == 1"); len(faults) == 0 {
		t.Error("a field of another type with the same title is accepted")
	}
}

func TestCEL_RuntimeErrors(t *testing.T) {
	s := functions.SchemaFor[Reading]()
	big := reading()
	for range 3000 {
		big.Words = append(big.Words, Word{"word", 1})
	}
	tests := []struct{ expr, pos, want string }{
		{"it.ok && 1 / it.count == 1", "x.yaml:3:20", "division by zero"},
		{"it.tags['x'] == 1", "x.yaml:3:16", "no such key: x"},
		{"size(it.rows[5]) == 1", "x.yaml:3:21", "index out of bounds: 5"},
		{"it.any == 1 || it.any + 1 == 2", "x.yaml:3:31", "no such overload"},
		{"9223372036854775807 + it.count + 1 > 0", "x.yaml:3:40", "integer overflow"},
		{"it.words.all(a, it.words.all(b, a.ms + b.ms > 0))", "x.yaml:3:9", "` costs more than 100000 over this value; make it simpler"},
	}
	big.Count = 0
	for _, tt := range tests {
		r := celRoute(t, s, s, tt.expr)
		r.exprs[0].site.pos = "x.yaml:3:9"
		r.exprs[0].site.cs = spec.Case{Pos: "x.yaml:3:9", Places: []spec.Place{{Offset: 0, Line: 3, Col: 9}}}
		_, err := r.choose(context.Background(), item(t, big), nil)
		if !errors.Is(err, functions.ErrChain) || errors.Is(err, functions.ErrInvalid) || functions.Retryable(err) {
			t.Errorf("%s: got %v, want one that blames the chain", tt.expr, err)
		}
		if want := tt.pos + ": can't be computed: case 1: expression `" + tt.expr + "`"; !strings.HasPrefix(fmt.Sprint(err), want) || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: got %v, want it to begin with %s and have %q", tt.expr, err, want, tt.want)
		}
	}
}

// TestCEL_EndsWithTheRun: an expression that is cut short is no fault of the chain.
func TestCEL_EndsWithTheRun(t *testing.T) {
	s := functions.SchemaFor[Reading]()
	big := reading()
	for range 1000 {
		big.Words = append(big.Words, Word{"word", 1})
	}
	gone := errors.New("the caller hung up")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(gone)
	_, err := celRoute(t, s, s, "it.words.all(a, a.ms > 0)").choose(ctx, item(t, big), nil)
	if !errors.Is(err, gone) || errors.Is(err, functions.ErrChain) {
		t.Errorf("got %v, want the cause", err)
	}
}

// TestCEL_DecodesOnlyWhatIsRead: values that no expression reads may be anything.
func TestCEL_DecodesOnlyWhatIsRead(t *testing.T) {
	s := functions.SchemaFor[Transcript]()
	junk := functions.Item{Value: []byte{0xff}}
	never := func() (any, error) { t.Error("the input is decoded"); return nil, nil }
	if taken, err := celRoute(t, s, s, "false", "true").choose(context.Background(), junk, never); taken != 1 || err != nil {
		t.Errorf("got case %d, %v, want 1", taken, err)
	}
	decoded := 0
	in := func() (any, error) { decoded++; return map[string]any{"text": "x"}, nil }
	if taken, err := celRoute(t, s, s, "in.text == ''", "in.text == 'x'").choose(context.Background(), junk, in); taken != 1 || err != nil || decoded != 1 {
		t.Errorf("got case %d, %v, input decoded %d times; want case 1 and once", taken, err, decoded)
	}
	if _, err := celRoute(t, s, s, "it.text == ''").choose(context.Background(), junk, never); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("a value that does not fit: got %v, want ErrInvalid", err)
	}
}

func TestCEL_ConcurrentRuns(t *testing.T) {
	s := functions.SchemaFor[Reading]()
	r := celRoute(t, s, s, "it.count > 5", "it.words.exists(w, w.ms == 50)")
	it := item(t, reading())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if taken, err := r.choose(context.Background(), it, nil); taken != 1 || err != nil {
					t.Errorf("got case %d, %v, want 1", taken, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestBindInput(t *testing.T) {
	tests := []struct{ src, want string }{
		{"in.a == 1", "__.a == 1"},
		{"1 in in.list", "1 in __.list"},
		{"in in in", "__ in __"},
		{"(in) in [in, in]", "(__) in [__, __]"},
		{"x.in", "x.in"},
		{"it.x in in.y ? in : -in", "it.x in __.y ? __ : -__"},
		{"!in.ok && 'in' in in.m", "!__.ok && 'in' in __.m"},
		{`"in \" in" in in`, `"in \" in" in __`},
		{`r"\" in in`, `r"\" in __`},
		{`"""in " in""" + in`, `"""in " in""" + __`},
		{`b'in' in in`, `b'in' in __`},
		{"inn in_ _in", "inn in_ _in"},
		{"a // in in\n in in", "a // in in\n in __"},
		{"f(in)in(in)", "f(__)in(__)"},
		{"{'a': in}['a'] in in", "{'a': __}['a'] in __"},
		{"1.5 in in", "1.5 in __"},
		{"it.`in` in in", "it.`in` in __"},
		{"null in in", "null in __"},
		{"'open in", "'open in"},
		{"`open in", "`open in"},
		{`'\`, `'\`},
	}
	for _, tt := range tests {
		got, err := bindInput(tt.src)
		if err != nil || got != tt.want {
			t.Errorf("bindInput(%q): got %q, %v, want %q", tt.src, got, err, tt.want)
		}
	}
}

// FuzzExpression: no text makes the check panic, and binding the input keeps every column.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{"it.text == '' || it.confidence < 0.35", "in.words.exists(w, w.ms in [1])", "'\\", "\"\"\"", "has(in.opt)", "1/0 == 1"} {
		f.Add(s)
	}
	env, err := newCELEnv(functions.SchemaFor[Transcript](), functions.SchemaFor[Reading]())
	if err != nil {
		f.Fatal(err)
	}
	it, in := item(f, Transcript{"a", 0.5}), any(map[string]any{})
	f.Fuzz(func(t *testing.T, text string) {
		if bound, err := bindInput(text); err == nil && len(bound) != len(text) {
			t.Fatalf("%q becomes %q", text, bound)
		}
		x, faults := env.compile(text)
		if len(faults) > 0 {
			return
		}
		r := &route{it: functions.SchemaFor[Transcript](), in: functions.SchemaFor[Reading](), exprs: []*expr{x}}
		_, _ = r.choose(context.Background(), it, func() (any, error) { return in, nil })
	})
}

func BenchmarkRoute(b *testing.B) {
	s := functions.SchemaFor[Transcript]()
	r := celRoute(b, s, s, `it.text == "" || it.confidence < 0.35`)
	it := item(b, Transcript{"what is the weather like", 0.8})
	b.ReportAllocs()
	for b.Loop() {
		if taken, err := r.choose(context.Background(), it, nil); taken != 1 || err != nil {
			b.Fatal(fmt.Sprint(taken, err))
		}
	}
}
