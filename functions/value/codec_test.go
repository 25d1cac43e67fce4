package value

import (
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/google/go-cmp/cmp"
)

// all has a field of every kind that has a schema.
type all struct {
	B     bool           `json:"b"`
	I     int            `json:"i"`
	I8    int8           `json:"i8"`
	U64   uint64         `json:"u64"`
	F     float64        `json:"f"`
	F32   float32        `json:"f32"`
	S     string         `json:"s"`
	Bytes []byte         `json:"bytes"`
	Arr   []uint16       `json:"arr"`
	List  []inner        `json:"list"`
	Map   map[string]int `json:"map"`
	Ptr   *inner         `json:"ptr"`
	Opt   string         `json:"opt,omitempty"`
	Zero  inner          `json:"zero,omitzero"`
	At    time.Time      `json:"at"`
	Dur   time.Duration  `json:"dur"`
	Any   any            `json:"any"`
	Sound functions.Audio
	embedded
}

type inner struct {
	Name string `json:"name"`
	N    *int   `json:"n,omitempty"`
}

type embedded struct {
	Deep int `json:"deep"`
}

func full() all {
	n := -7
	return all{
		B: true, I: math.MinInt64, I8: -128, U64: math.MaxUint64, F: 0.1, F32: 0.5, S: "h\u00e9llo", Bytes: []byte{0, 255}, Arr: []uint16{1, 2, 3},
		List: []inner{{Name: "a"}, {Name: "b", N: &n}}, Map: map[string]int{"x": 1, "longer": 2}, Ptr: &inner{Name: "p"}, Opt: "o",
		Zero: inner{Name: "z"}, At: time.Date(2026, 1, 2, 3, 4, 5, 600_000_007, time.FixedZone("", 3600)), Dur: time.Second,
		Any: map[string]any{"k": []any{int64(1), "two", 3.5, nil, true}}, embedded: embedded{Deep: 5},
		Sound: functions.Audio{Blob: functions.Attach("audio/wav", []byte("x")).Blob, SampleHz: 16000, Channels: 1, Dur: time.Second},
	}
}

func TestCodec_GivesBackWhatItGot(t *testing.T) {
	for name, want := range map[string]all{"full": full(), "zero": {Sound: full().Sound}} {
		t.Run(name, func(t *testing.T) {
			b, err := Encode(want)
			if err != nil {
				t.Fatal(err)
			}
			var got all
			if err := (Codec{}).Decode(b, &got); err != nil {
				t.Fatal(err)
			}
			if name == "zero" { // nil and empty are one in CBOR
				want.Bytes, want.Arr, want.List, want.Map = []byte{}, []uint16{}, []inner{}, map[string]int{}
			}
			if diff := cmp.Diff(got, want, cmp.AllowUnexported(all{})); diff != "" {
				t.Errorf("got- want+\n%s", diff)
			}
			if err := Check(functions.SchemaFor[all](), b); err != nil {
				t.Errorf("Check by the type's schema: %v", err)
			}
			again, err := (Codec{}).Encode(&got)
			if err != nil || string(again) != string(b) {
				t.Errorf("encoded again: %x, %v; want %x", again, err, b)
			}
		})
	}
}

func TestEncode_IsCoreDeterministic(t *testing.T) {
	for _, tc := range []struct {
		v    any
		want string
	}{
		{map[string]int{"b": 1, "aa": 2, "a": 3}, "a3 6161 03 6162 01 626161 02"},
		{struct {
			Z int `json:"z"`
			A int `json:"a"`
		}{1, 2}, "a2 6161 02 617a 01"},
		{1.5, "f9 3e00"},
		{float32(0.1), "fa 3dcccccd"},
		{0.1, "fb 3fb999999999999a"},
		{24, "18 18"},
		{-1, "20"},
		{[]byte(nil), "40"},
		{[]int(nil), "80"},
		{[2]byte{1, 2}, "82 01 02"},
		{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "c0 74" + hex.EncodeToString([]byte("2026-01-02T03:04:05Z"))},
		{2 * time.Microsecond, "19 07d0"},
	} {
		got, err := Encode(tc.v)
		if want := strings.ReplaceAll(tc.want, " ", ""); err != nil || hex.EncodeToString(got) != want {
			t.Errorf("Encode(%v) = %x, %v; want %s", tc.v, got, err, want)
		}
	}
}

func TestEncode_Refuses(t *testing.T) {
	for name, v := range map[string]any{
		"nan": math.NaN(), "infinity": []float64{math.Inf(-1)}, "func": func() {}, "channel": make(chan int),
		"year": time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), "zone": time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("", 25*3600)),
	} {
		if _, err := Encode(v); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("%s: got %v, want an invalid error", name, err)
		}
	}
}

// bad is CBOR that no reader here accepts.
var bad = map[string]string{
	"nothing":                  "",
	"cut":                      "82 01",
	"more after it":            "01 01",
	"duplicate key":            "a2 6161 01 6161 02",
	"indefinite array":         "9f 01 ff",
	"indefinite string":        "7f 6161 ff",
	"invalid utf-8":            "61 ff",
	"invalid utf-8 in a key":   "a1 61ff 01",
	"nan":                      "f9 7e00",
	"infinity":                 "f9 7c00",
	"bignum":                   "c2 41 01",
	"bad time":                 "c0 63 616263",
	"array of claimed 2^32":    "9a ffffffff",
	"too many map pairs":       "ba 00100000",
	"bytes of claimed 2^63":    "5b 7fffffffffffffff",
	"nested 70 deep":           strings.Repeat("81", 70) + "01",
	"reserved additional info": "1c",
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecode_IsStrict(t *testing.T) {
	for name, s := range bad {
		t.Run(name, func(t *testing.T) {
			var v any
			if err := Decode(unhex(t, s), &v); !errors.Is(err, functions.ErrInvalid) {
				t.Errorf("Decode: got %v (%v), want an invalid error", err, v)
			}
			if _, err := Any(&functions.Schema{}, unhex(t, s)); !errors.Is(err, functions.ErrInvalid) {
				t.Errorf("Any: got %v, want an invalid error", err)
			}
		})
	}
}

func TestDecode_SaysWhatDoesNotFit(t *testing.T) {
	b, err := Encode(map[string]any{"name": 1})
	if err != nil {
		t.Fatal(err)
	}
	var v inner
	err = Decode(b, &v)
	if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), "value.inner") || !strings.Contains(err.Error(), "positive integer") {
		t.Errorf("got %v, want an invalid error that names the types", err)
	}
	if err := Decode(b, v); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("without a pointer: got %v, want an invalid error", err)
	}
	if err := Decode(b, nil); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("into nil: got %v, want an invalid error", err)
	}
	// The case of a name counts, as it does in the schema.
	if b, err = Encode(map[string]any{"NAME": "x"}); err != nil {
		t.Fatal(err)
	}
	if err := Decode(b, &v); err != nil || v.Name != "" {
		t.Errorf("got %+v, %v; want NAME left out", v, err)
	}
}

func BenchmarkCheck(b *testing.B) {
	type transcript struct {
		Text       string  `json:"text"`
		Confidence float64 `json:"confidence"`
	}
	s := functions.SchemaFor[transcript]()
	v, err := Encode(transcript{"what is the capital of france", 0.9})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := Check(s, v); err != nil {
			b.Fatal(err)
		}
	}
}

func TestEncode_NamesFieldsAsTheSchemaDoes(t *testing.T) {
	typ := reflect.StructOf([]reflect.StructField{
		{Name: "Out", Type: reflect.TypeFor[int](), Tag: `json:"-"`}, {Name: "In", Type: reflect.TypeFor[int](), Tag: `json:"-,"`},
		{Name: "Plain", Type: reflect.TypeFor[int]()}, {Name: "Opts", Type: reflect.TypeFor[int](), Tag: `json:",omitempty"`},
	})
	s, err := functions.SchemaOf(typ)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ToJSON(s, encode(t, reflect.Zero(typ).Interface()))
	if want := `{"-":0,"Plain":0}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}
