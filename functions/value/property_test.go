package value

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// sample is a schema with a value of it, as Any returns it.
type sample struct {
	schema *functions.Schema
	value  any
}

var names = rapid.StringMatching(`[a-z]{1,4}`)

// schemas generates schemas that nest at most depth deep.
func schemas(depth int) *rapid.Generator[*functions.Schema] {
	return rapid.Custom(func(t *rapid.T) *functions.Schema {
		kinds := []functions.Schema{
			{}, {Type: "boolean"}, {Type: "integer"}, {Type: "number"}, {Type: "string"}, *bytesSchema, *audioSchema,
			{Type: "string", Format: functions.FormatDateTime}, {Type: "integer", Format: functions.FormatDuration},
		}
		if depth > 0 {
			kinds = append(kinds, functions.Schema{Type: "array"}, functions.Schema{Type: "object"})
		}
		s := rapid.SampledFrom(kinds).Draw(t, "kind")
		s.Nullable = s.Type != "" && rapid.Bool().Draw(t, "nullable")
		switch {
		case s.Type == "array":
			s.Items = schemas(depth-1).Draw(t, "items")
		case s.Type == "object" && s.Format == "":
			s.Properties = rapid.MapOfN(names, schemas(depth-1), 0, 4).Draw(t, "properties")
			for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
				if rapid.Bool().Draw(t, "required") {
					s.Required = append(s.Required, name)
				}
			}
			if rapid.Bool().Draw(t, "additional") {
				s.Additional = schemas(depth-1).Draw(t, "more")
			}
		}
		return &s
	})
}

func valueOf(t *rapid.T, s *functions.Schema) any {
	if s.Nullable && rapid.Bool().Draw(t, "null") {
		return nil
	}
	switch {
	case s.Type == "":
		return rapid.OneOf(
			rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.Float64().AsAny(), rapid.String().AsAny(),
			rapid.SliceOfN(rapid.Int64().AsAny(), 0, 3).AsAny(), rapid.MapOfN(names, rapid.Float64().AsAny(), 0, 3).AsAny(),
		).Draw(t, "any")
	case s.Type == "boolean":
		return rapid.Bool().Draw(t, "bool")
	case s.Format == functions.FormatDuration:
		return time.Duration(rapid.Int64().Draw(t, "dur"))
	case s.Type == "integer":
		return rapid.Int64().Draw(t, "int")
	case s.Type == "number":
		return rapid.Float64().Draw(t, "float")
	case s.Format == functions.FormatBytes:
		return rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
	case s.Format == functions.FormatDateTime:
		return time.Unix(rapid.Int64Range(-6e10, 2e11).Draw(t, "sec"), rapid.Int64Range(0, 999_999_999).Draw(t, "nsec")).UTC()
	case s.Type == "string":
		return rapid.String().Draw(t, "string")
	case s.Format == functions.FormatAudio:
		a := functions.Attach("audio/wav", rapid.SliceOf(rapid.Byte()).Draw(t, "data"))
		return map[string]any{"blob": string(a.Digest), "type": a.Type, "size": a.Size, "sample_hz": int64(16000), "channels": int64(1), "dur": time.Duration(0)}
	case s.Type == "array":
		v := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			v = append(v, valueOf(t, s.Items))
		}
		return v
	}
	v := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if slices.Contains(s.Required, name) || rapid.Bool().Draw(t, "there") {
			v[name] = valueOf(t, s.Properties[name])
		}
	}
	if s.Additional != nil {
		for _, name := range rapid.SliceOfN(names, 0, 2).Draw(t, "names") {
			if s.Properties[name] == nil {
				v[name] = valueOf(t, s.Additional)
			}
		}
	}
	return v
}

var samples = rapid.Custom(func(t *rapid.T) sample {
	s := schemas(3).Draw(t, "schema")
	return sample{s, valueOf(t, s)}
})

func TestRoundTrip_AnySchemaAnyValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := samples.Draw(t, "sample")
		if err := x.schema.Validate(); err != nil {
			t.Fatal(err)
		}
		first, err := Encode(x.value)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Any(x.schema, first)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, x.value); diff != "" {
			t.Fatalf("Any: got- want+\n%s", diff)
		}
		text, err := ToJSON(x.schema, first)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(text) {
			t.Fatalf("%s is not JSON", text)
		}
		second, blobs, err := FromJSON(x.schema, text, nil)
		if err != nil || blobs != nil {
			t.Fatalf("FromJSON(%s): %v, %v", text, err, blobs)
		}
		if string(second) != string(first) {
			t.Fatalf("CBOR %x became %x by way of %s", first, second, text)
		}
	})
}

func TestCheck_FindsWhatDoesNotFit(t *testing.T) {
	// A value of one schema passes Check by another whenever the schemas say that it may.
	rapid.Check(t, func(t *rapid.T) {
		x, want := samples.Draw(t, "sample"), schemas(2).Draw(t, "want")
		b, err := Encode(x.value)
		if err != nil {
			t.Fatal(err)
		}
		if x.schema.AssignableTo(want) == nil {
			if err := Check(want, b); err != nil {
				t.Fatalf("the schemas are assignable, but: %v", err)
			}
		}
	})
}

func TestCheck_AcceptsEveryValueOfAGoType(t *testing.T) {
	type leaf struct {
		A    int               `json:"a"`
		B    *string           `json:"b,omitempty"`
		C    []uint16          `json:"c"`
		D    map[string][]bool `json:"d"`
		E    float32           `json:"e,omitempty"`
		Raw  []byte            `json:"raw"`
		Arr  []int8            `json:"arr"`
		Wait time.Duration     `json:"wait"`
	}
	type tree struct {
		leaf
		Kids []leaf           `json:"kids"`
		By   map[string]*leaf `json:"by,omitempty"`
		Free any              `json:"free"`
		U    uint64           `json:"u"`
	}
	s := functions.SchemaFor[tree]()
	rapid.Check(t, func(t *rapid.T) {
		leaves := rapid.Custom(func(t *rapid.T) leaf {
			return leaf{
				A: rapid.Int().Draw(t, "a"), B: rapid.Ptr(rapid.String(), true).Draw(t, "b"), C: rapid.SliceOfN(rapid.Uint16(), 0, 3).Draw(t, "c"),
				D: rapid.MapOfN(rapid.String(), rapid.SliceOfN(rapid.Bool(), 0, 2), 0, 2).Draw(t, "d"), E: rapid.Float32().Draw(t, "e"),
				Raw: rapid.SliceOf(rapid.Byte()).Draw(t, "raw"), Wait: time.Duration(rapid.Int64().Draw(t, "wait")),
			}
		})
		v := tree{
			leaf: leaves.Draw(t, "leaf"), Kids: rapid.SliceOfN(leaves, 0, 2).Draw(t, "kids"), U: rapid.Uint64().Draw(t, "u"),
			By:   rapid.MapOfN(rapid.String(), rapid.Ptr(leaves, true), 0, 2).Draw(t, "by"),
			Free: rapid.SampledFrom([]any{nil, "x", int64(1), 1.5, []any{"y"}, map[string]any{"k": true}}).Draw(t, "free"),
		}
		b, err := Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(s, b); err != nil {
			t.Fatal(err)
		}
		var back tree
		if err := Decode(b, &back); err != nil {
			t.Fatal(err)
		}
		if again, err := Encode(back); err != nil || string(again) != string(b) {
			t.Fatalf("encoded again: %x, %v; want %x", again, err, b)
		}
	})
}

func Example() {
	type item struct {
		ID   int    `json:"id"`
		Name string `json:"name"`
	}
	s := functions.SchemaFor[[]item]()
	b, _, err := FromJSON(s, []byte(`[{"id": 1, "name": "one"}, {"id": 2}]`), nil)
	fmt.Println(strings.Contains(err.Error(), `value[1]: property "name" is missing`))
	b, _, err = FromJSON(s, []byte(`[{"id": 1, "name": "one"}]`), nil)
	if err != nil {
		fmt.Println(err)
	}
	text, err := ToJSON(s, b)
	fmt.Println(string(text), err)
	// Output:
	// true
	// [{"id":1,"name":"one"}] <nil>
}
