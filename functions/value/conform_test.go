package value

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/google/go-cmp/cmp"
)

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAny_HasTheTypesOfTheSchema(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 10, time.UTC)
	in := map[string]any{
		"whole": 3, "huge": uint64(math.MaxUint64), "ratio": 1, "name": "x", "raw": []byte{1}, "at": now, "dur": 5, "no": nil, "yes": true,
		"list": []int{1, 2}, "free": map[string]any{"n": 1, "f": 1.0, "big": uint64(math.MaxUint64), "t": now, "raw": []byte{2}, "l": []any{-1}},
	}
	s := &functions.Schema{Type: "object", Properties: map[string]*functions.Schema{
		"whole": {Type: "integer"}, "huge": {Type: "integer"}, "ratio": {Type: "number"}, "name": {Type: "string"},
		"raw": {Type: "string", Format: functions.FormatBytes}, "at": {Type: "string", Format: functions.FormatDateTime},
		"dur": {Type: "integer", Format: functions.FormatDuration}, "no": {Type: "string", Nullable: true}, "yes": {Type: "boolean"},
		"list": {Type: "array", Items: &functions.Schema{Type: "number"}}, "free": {},
	}}
	got, err := Any(s, encode(t, in))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"whole": int64(3), "huge": uint64(math.MaxUint64), "ratio": 1.0, "name": "x", "raw": []byte{1}, "at": now, "dur": 5 * time.Nanosecond,
		"no": nil, "yes": true, "list": []any{1.0, 2.0},
		"free": map[string]any{"n": int64(1), "f": 1.0, "big": uint64(math.MaxUint64), "t": now, "raw": []byte{2}, "l": []any{int64(-1)}},
	}
	if diff := cmp.Diff(got, any(want)); diff != "" {
		t.Errorf("got- want+\n%s", diff)
	}
}

func TestCheck_NamesThePlace(t *testing.T) {
	str, integer := &functions.Schema{Type: "string"}, &functions.Schema{Type: "integer"}
	item := &functions.Schema{Type: "object", Title: "Item", Properties: map[string]*functions.Schema{"id": integer, "tag": str}, Required: []string{"id"}}
	list := &functions.Schema{Type: "object", Properties: map[string]*functions.Schema{"items": {Type: "array", Items: item}}}
	blob := functions.SchemaFor[functions.Blob]()
	digest := string(functions.DigestOf(nil))
	for name, tc := range map[string]struct {
		schema *functions.Schema
		value  any
		want   string
	}{
		"wrong type":           {str, 1, "value: got integer, want string"},
		"float for integer":    {integer, 1.5, "value: got number, want integer"},
		"whole float":          {integer, 1.0, "value: got number, want integer"},
		"string for bytes":     {bytesSchema, "x", "value: got string, want bytes"},
		"bytes for string":     {str, []byte("x"), "value: got bytes, want string"},
		"null":                 {str, nil, "value: is null, want string"},
		"deep":                 {list, map[string]any{"items": []any{map[string]any{"id": 1}, map[string]any{"id": "x"}}}, "value.items[1].id: got string, want integer"},
		"missing":              {list, map[string]any{"items": []any{map[string]any{}}}, `value.items[0]: property "id" is missing`},
		"unknown":              {list, map[string]any{"items": []any{map[string]any{"id": 1, "idd": 2}}}, "value.items[0].idd: is not a property of Item"},
		"unusual name":         {list, map[string]any{"a\nb": 1}, `value["a\nb"]: is not a property`},
		"long name":            {list, map[string]any{strings.Repeat("a", 100): 1}, `value["` + strings.Repeat("a", 64) + `"...]`},
		"array for object":     {list, []int{}, "value: got array, want object"},
		"long duration":        {functions.SchemaFor[time.Duration](), uint64(math.MaxUint64), "too large for a duration"},
		"blob without digest":  {blob, map[string]any{"blob": "abc", "type": "a/b", "size": 1}, `value.blob: "abc" is not sha256:`},
		"blob without prefix":  {blob, map[string]any{"blob": digest[7:], "type": "a/b", "size": 1}, "has no sha256: before it"},
		"blob of minus 1 byte": {blob, map[string]any{"blob": digest, "type": "a/b", "size": -1}, "value.size: -1 is negative"},
		"blob cut":             {blob, map[string]any{"blob": digest, "type": "a/b"}, `property "size" is missing`},
		"half audio as blob":   {blob, map[string]any{"blob": digest, "type": "a/b", "size": 1, "sample_hz": 1}, `property "channels" is missing`},
		"no schema":            {nil, 1, "value: has no schema"},
		"no items":             {&functions.Schema{Type: "array"}, []int{1}, "value[0]: has no schema"},
		"empty blob schema":    {&functions.Schema{Type: "object", Format: functions.FormatBlob}, map[string]any{}, "value.blob"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(tc.schema, encode(t, tc.value))
			if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an invalid error with %q", err, tc.want)
			}
		})
	}
}

func TestCheck_Accepts(t *testing.T) {
	sound := functions.Audio{Blob: functions.Attach("audio/wav", nil).Blob, SampleHz: 16000, Channels: 1}
	for name, tc := range map[string]struct {
		schema *functions.Schema
		value  any
	}{
		"integer for number": {functions.SchemaFor[float64](), 3},
		"nullable":           {functions.SchemaFor[*int](), nil},
		"null for any":       {functions.SchemaFor[any](), nil},
		"audio for blob":     {functions.SchemaFor[functions.Blob](), sound},
		"zero time":          {functions.SchemaFor[time.Time](), time.Time{}},
		"map":                {functions.SchemaFor[map[string]int](), map[string]int{"a": 1}},
		"optional left out":  {functions.SchemaFor[inner](), map[string]any{"name": "x"}},
	} {
		if err := Check(tc.schema, encode(t, tc.value)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheck_RefusesOtherItems(t *testing.T) {
	for name, item := range map[string]string{"tag": "d8 64 01", "simple value": "f0", "integer below 64 bits": "3b ffffffffffffffff", "integer key": "a1 01 02"} {
		if err := Check(&functions.Schema{}, unhex(t, item)); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("%s: got %v, want an invalid error", name, err)
		}
	}
}

func TestBlobs_AreInTheOrderOfTheValue(t *testing.T) {
	blob := func(s string) functions.Blob { return functions.Attach("text/plain", []byte(s)).Blob }
	type holder struct {
		Long  functions.Blob            `json:"long"`
		A     *functions.Blob           `json:"a"`
		List  []functions.Blob          `json:"list"`
		Map   map[string]functions.Blob `json:"map"`
		Sound functions.Audio           `json:"sound"`
		None  *functions.Blob           `json:"none"`
	}
	a := blob("a")
	v := holder{
		Long: blob("long"), A: &a, List: []functions.Blob{blob("l0"), blob("l1")}, Map: map[string]functions.Blob{"k": blob("k")},
		Sound: functions.Audio{Blob: blob("sound")},
	}
	got, err := Blobs(functions.SchemaFor[holder](), encode(t, v))
	if err != nil {
		t.Fatal(err)
	}
	want := []functions.Blob{a, blob("k"), blob("l0"), blob("l1"), blob("long"), blob("sound")}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("got- want+\n%s", diff)
	}
	if got, err := Blobs(functions.SchemaFor[all](), []byte{0xff}); err == nil {
		t.Errorf("of broken CBOR: got %v, want an error", got)
	}
	if got, err := Blobs(functions.SchemaFor[inner](), encode(t, inner{})); got != nil || err != nil {
		t.Errorf("of a type without blobs: got %v, %v", got, err)
	}
}

func FuzzAny(f *testing.F) {
	s := functions.SchemaFor[all]()
	f.Add(encode(f, full()))
	f.Add(encode(f, all{}))
	for _, b := range bad {
		f.Add(unhex(f, b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range []*functions.Schema{s, {}} {
			_, err := Any(s, b)
			if err != nil {
				if !errors.Is(err, functions.ErrInvalid) {
					t.Fatalf("error %v is not invalid", err)
				}
				continue
			}
			text, err := ToJSON(s, b)
			if err != nil {
				if strings.Contains(err.Error(), "year outside of range") || strings.Contains(err.Error(), "timezone hour outside of range") {
					continue
				}
				t.Fatalf("ToJSON: %v", err)
			}
			again, _, err := FromJSON(s, text, nil)
			if err != nil {
				t.Fatalf("FromJSON of %s: %v", text, err)
			}
			if text2, err := ToJSON(s, again); err != nil || string(text2) != string(text) {
				t.Fatalf("JSON %s became %s, %v", text, text2, err)
			}
		}
		var v all
		if err := Decode(b, &v); err != nil && !errors.Is(err, functions.ErrInvalid) {
			t.Fatalf("error %v is not invalid", err)
		}
	})
}

func TestCheckBlobs(t *testing.T) {
	type clip struct {
		Sound functions.Blob `json:"sound"`
	}
	ref := functions.Attach("a/b", []byte("x")).Blob
	v, err := Encode(clip{ref})
	if err != nil {
		t.Fatal(err)
	}
	if refs, err := CheckBlobs(functions.SchemaFor[clip](), v); err != nil || len(refs) != 1 || refs[0] != ref {
		t.Errorf("got %v, %v, want the one blob", refs, err)
	}
	// Blobs has nothing to look for in a schema without any, and does not look. CheckBlobs does.
	if refs, err := CheckBlobs(functions.SchemaFor[int](), v); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("got %v, %v, want ErrInvalid for a value of another type", refs, err)
	}
}
