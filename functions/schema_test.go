package functions_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/google/go-cmp/cmp"
)

type plain struct {
	Name   string         `json:"name"`
	N      uint8          `json:"n,omitempty"`
	At     time.Time      `json:"at,omitzero"`
	Raw    []byte         `json:"raw"`
	Codes  []int          `json:"codes"`
	Ratio  *float32       `json:"ratio"`
	ByName map[string]int `json:"by_name"`
	Any    any
	Wait   time.Duration `json:"wait"`
	Hidden chan int      `json:"-"`
	secret chan int
	base
	*Extra
	*Named `json:"named"`
}

type base struct {
	ID int `json:"id"`
}

type Extra struct {
	More bool `json:"more"`
}

type Named struct {
	Sure bool `json:"sure"`
}

func TestSchemaOf_Struct(t *testing.T) {
	_ = plain{secret: nil} // unexported fields have no part in a schema
	got, err := functions.SchemaOf(reflect.TypeFor[plain]())
	if err != nil {
		t.Fatal(err)
	}
	str, integer, boolean := &functions.Schema{Type: "string"}, &functions.Schema{Type: "integer"}, &functions.Schema{Type: "boolean"}
	want := &functions.Schema{
		Type: "object", Title: "plain", Required: []string{"Any", "by_name", "codes", "id", "name", "raw", "wait"},
		Properties: map[string]*functions.Schema{
			"name": str, "n": integer, "at": {Type: "string", Format: functions.FormatDateTime}, "raw": {Type: "string", Format: functions.FormatBytes},
			"codes": {Type: "array", Items: integer}, "ratio": {Type: "number", Nullable: true}, "by_name": {Type: "object", Additional: integer},
			"Any": {}, "wait": {Type: "integer", Format: functions.FormatDuration}, "id": integer, "more": boolean,
			"named": {Type: "object", Title: "Named", Nullable: true, Required: []string{"sure"}, Properties: map[string]*functions.Schema{"sure": boolean}},
		},
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("got- want+\n%s", diff)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
}

func TestSchemaOf_FieldNamedByAHyphen(t *testing.T) {
	// Only a tag that is a hyphen and nothing else leaves a field out.
	s, err := functions.SchemaOf(reflect.StructOf([]reflect.StructField{
		{Name: "Out", Type: reflect.TypeFor[chan int](), Tag: `json:"-"`}, {Name: "In", Type: reflect.TypeFor[int](), Tag: `json:"-,"`},
	}))
	if err != nil || len(s.Properties) != 1 || s.Properties["-"] == nil {
		t.Errorf("got %+v, %v; want the property -", s, err)
	}
}

func TestSchemaFor_Blobs(t *testing.T) {
	blob, audio := functions.SchemaFor[functions.Blob](), functions.SchemaFor[functions.Audio]()
	if blob.Format != functions.FormatBlob || len(blob.Properties) != 3 || len(blob.Required) != 3 {
		t.Errorf("got %+v", blob)
	}
	if audio.Format != functions.FormatAudio || len(audio.Properties) != 6 || audio.Properties["dur"].Format != functions.FormatDuration {
		t.Errorf("got %+v", audio)
	}
	for _, s := range []*functions.Schema{blob, audio} {
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
	}
}

type loop struct {
	Next *loop `json:"next"`
}

type level[T any] struct {
	Deeper T `json:"deeper"`
}

type (
	l4  = level[level[level[level[int]]]]
	l12 = level[level[level[level[level[level[level[level[l4]]]]]]]]
	l36 = level[level[level[level[level[level[level[level[level[level[level[level[level[level[level[level[level[level[level[level[level[level[level[level[l12]]]]]]]]]]]]]]]]]]]]]]]]
)

func TestSchemaOf_Refuses(t *testing.T) {
	for name, tc := range map[string]struct {
		of   reflect.Type
		want string
	}{
		"recursive":     {reflect.TypeFor[loop](), "field Next: invalid: type functions_test.loop contains itself"},
		"too deep":      {reflect.TypeFor[l36](), "nests deeper than 32"},
		"array":         {reflect.TypeFor[struct{ A [3]int }](), "field A: invalid: type [3]int has a fixed length, which a schema can't say; use a slice"},
		"channel":       {reflect.TypeFor[struct{ C chan int }](), "field C: invalid: type chan int has no schema"},
		"func":          {reflect.TypeFor[func()](), "type func() has no schema"},
		"complex":       {reflect.TypeFor[complex128](), "has no schema"},
		"map of ints":   {reflect.TypeFor[map[int]int](), "type map[int]int has no schema"},
		"interface":     {reflect.TypeFor[error](), "type error has no schema"},
		"marshals text": {reflect.TypeFor[*big.Int](), "big.Int marshals itself"},
		"marshals json": {reflect.TypeFor[json.RawMessage](), "json.RawMessage marshals itself"},
		"in a list":     {reflect.TypeFor[[]big.Float](), "big.Float marshals itself"},
		"two of one name": {reflect.StructOf([]reflect.StructField{
			{Name: "A", Type: reflect.TypeFor[int](), Tag: `json:"x"`}, {Name: "B", Type: reflect.TypeFor[int](), Tag: `json:"x"`},
		}), "field B: invalid: type struct"},
		"shadowed": {reflect.TypeFor[struct {
			ID string `json:"id"`
			base
		}](), `has two fields that are "id" in JSON`},
		"cbor tag": {reflect.TypeFor[struct {
			A int `cbor:"1,keyasint"`
		}](), "field A: invalid: a cbor tag"},
		"string option": {reflect.TypeFor[struct {
			A int `json:",string"`
		}](), "field A: invalid: the json option string"},
		"hidden pointer": {reflect.TypeFor[struct{ *base }](), "embedded pointer to an unexported struct"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := functions.SchemaOf(tc.of)
			if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, %v; want an invalid error with %q", s, err, tc.want)
			}
		})
	}
}

func TestSchemaFor_PanicsWithoutSchema(t *testing.T) {
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("got %v, want a panic with an invalid error", err)
		}
	}()
	functions.SchemaFor[chan int]()
}

func TestSchema_Validate(t *testing.T) {
	integer := &functions.Schema{Type: "integer"}
	deep := &functions.Schema{Type: "string"}
	for range 40 {
		deep = &functions.Schema{Type: "array", Items: deep}
	}
	for name, tc := range map[string]struct {
		schema *functions.Schema
		want   string
	}{
		"nil":                {nil, "schema is missing"},
		"unknown type":       {&functions.Schema{Type: "float"}, `unknown type "float"`},
		"unknown format":     {&functions.Schema{Type: "string", Format: "uuid"}, `format "uuid" does not belong to type "string"`},
		"wrong format":       {&functions.Schema{Type: "integer", Format: functions.FormatBytes}, `format "bytes" does not belong to type "integer"`},
		"array":              {&functions.Schema{Type: "array"}, "an array needs items"},
		"items":              {&functions.Schema{Type: "string", Items: integer}, "items belong to an array"},
		"properties":         {&functions.Schema{Type: "string", Properties: map[string]*functions.Schema{"a": integer}}, "properties belong to an object"},
		"additional":         {&functions.Schema{Additional: integer}, "properties belong to an object"},
		"required":           {&functions.Schema{Type: "object", Required: []string{"a"}}, `required property "a" is not declared`},
		"nil property":       {&functions.Schema{Type: "object", Properties: map[string]*functions.Schema{"a": nil}}, "schema.a is missing"},
		"property":           {&functions.Schema{Type: "object", Properties: map[string]*functions.Schema{"a": {Type: "x"}}}, `schema.a: unknown type "x"`},
		"in items":           {&functions.Schema{Type: "array", Items: &functions.Schema{Type: "x"}}, `schema[]: unknown type "x"`},
		"in additional":      {&functions.Schema{Type: "object", Additional: &functions.Schema{Type: "x"}}, `schema[*]: unknown type "x"`},
		"deep":               {deep, "nests deeper than 32"},
		"blob without parts": {&functions.Schema{Type: "object", Format: functions.FormatBlob}, "format blob needs the property blob"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.schema.Validate(); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an invalid error with %q", err, tc.want)
			}
		})
	}
}

func TestSchema_AssignableTo(t *testing.T) {
	type small struct {
		A int `json:"a"`
	}
	type smallAgain struct {
		A int `json:"a"`
	}
	type large struct {
		A int    `json:"a"`
		B string `json:"b"`
	}
	type optional struct {
		A int    `json:"a"`
		B string `json:"b,omitempty"`
	}
	type maybe struct {
		A *int `json:"a"`
	}
	s := func(v any) *functions.Schema {
		schema, err := functions.SchemaOf(reflect.TypeOf(v))
		if err != nil {
			t.Fatal(err)
		}
		return schema
	}
	open := &functions.Schema{Type: "object", Properties: map[string]*functions.Schema{"a": {Type: "string"}}, Additional: &functions.Schema{Type: "integer"}}
	number, nullable := &functions.Schema{Type: "number"}, &functions.Schema{Type: "integer", Nullable: true}
	for name, tc := range map[string]struct {
		from, to *functions.Schema
		want     string // empty if it is assignable
	}{
		"same":                     {s(large{}), s(large{}), ""},
		"other title":              {s(small{}), s(smallAgain{}), ""},
		"to any":                   {s(large{}), &functions.Schema{}, ""},
		"from any":                 {&functions.Schema{}, s(1), "any is not integer"},
		"more properties":          {s(large{}), s(small{}), `large has a property "b" that small does not know`},
		"fewer properties":         {s(small{}), s(large{}), `property "b" is required but may be missing in small`},
		"fewer optional ones":      {s(small{}), s(optional{}), ""},
		"optional to required":     {s(optional{}), s(large{}), `property "b" is required`},
		"integer to number":        {s(1), s(1.0), ""},
		"number to integer":        {s(1.0), s(1), "number is not integer"},
		"nullable to nullable":     {nullable, nullable, ""},
		"nullable to plain":        {nullable, s(1), "may be null"},
		"nullable to number":       {nullable, number, "may be null"},
		"nullable to any":          {nullable, &functions.Schema{}, ""},
		"plain to nullable":        {s(1), nullable, ""},
		"nullable property":        {s(maybe{}), s(small{}), "required but may be missing"},
		"duration to integer":      {s(time.Second), s(1), "duration is not integer"},
		"duration to number":       {s(time.Second), s(1.0), "duration is not number"},
		"bytes to string":          {s([]byte{}), s(""), "bytes is not string"},
		"audio to blob":            {s(functions.Audio{}), s(functions.Blob{}), ""},
		"blob to audio":            {s(functions.Blob{}), s(functions.Audio{}), "Blob is not Audio"},
		"lists":                    {s([]int{}), s([]float64{}), ""},
		"lists of others":          {s([]string{}), s([]int{}), "value[]: string is not integer"},
		"maps":                     {s(map[string]int{}), s(map[string]float64{}), ""},
		"map to struct":            {s(map[string]int{}), s(optional{}), `property "a" is required`},
		"struct to map":            {s(small{}), s(map[string]int{}), ""},
		"struct to map of strings": {s(small{}), s(map[string]string{}), "value.a: integer is not string"},
		"map to closed object":     {s(map[string]int{}), &functions.Schema{Type: "object"}, "may have any property"},
		"map to declared property": {s(map[string]int{}), open, "value.a: integer is not string"},
		"no schema":                {nil, s(1), "a schema is missing"},
		"array without items":      {&functions.Schema{Type: "array"}, s([]int{}), "value[]: a schema is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.from.AssignableTo(tc.to)
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an invalid error with %q", err, tc.want)
			}
		})
	}
}

func TestSchema_String(t *testing.T) {
	for want, s := range map[string]*functions.Schema{
		"nothing": nil, "any": {}, "base": functions.SchemaFor[base](), "[]base": functions.SchemaFor[[]base](), "bytes": functions.SchemaFor[[]byte](),
		"string": functions.SchemaFor[string](), "object": functions.SchemaFor[map[string]int](), "[]nothing": {Type: "array"},
	} {
		if got := s.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// FuzzSchema reads schemas as a manifest from outside brings them.
func FuzzSchema(f *testing.F) {
	for _, s := range []*functions.Schema{functions.SchemaFor[plain](), functions.SchemaFor[[]functions.Audio](), {}} {
		b, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"type":"array","items":{"properties":{"":null}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s functions.Schema
		if json.Unmarshal(b, &s) != nil {
			return
		}
		_ = s.String()
		err := s.Validate()
		if err != nil && !errors.Is(err, functions.ErrInvalid) {
			t.Fatalf("error %v is not invalid", err)
		}
		if assignable := s.AssignableTo(&s); err == nil && assignable != nil {
			t.Fatalf("a valid schema is not assignable to itself: %v", assignable)
		}
	})
}

func TestSchema_TextProperty(t *testing.T) {
	type one struct {
		Text string `json:"text"`
	}
	type two struct{ A, B string }
	type number struct{ N int }
	for _, tt := range []struct {
		schema *functions.Schema
		name   string
		ok     bool
	}{
		{functions.SchemaFor[string](), "", true},
		{functions.SchemaFor[one](), "text", true},
		{functions.SchemaFor[two](), "", false},
		{functions.SchemaFor[number](), "N", false},
		{functions.SchemaFor[[]byte](), "", false},
		{functions.SchemaFor[functions.Blob](), "", false},
		{functions.SchemaFor[map[string]string](), "", false},
		{functions.SchemaFor[int](), "", false},
	} {
		if name, ok := tt.schema.TextProperty(); ok != tt.ok || ok && name != tt.name {
			t.Errorf("%s: %q, %v, want %q, %v", tt.schema, name, ok, tt.name, tt.ok)
		}
	}
}
