package functions

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Schema describes a value: the part of JSON Schema that Go types need. An empty Type is any value.
type Schema struct {
	// Type is object, array, string, integer, number, boolean or empty.
	Type string `json:"type,omitempty"`
	// Format refines Type: "blob" and "audio" (objects that stand for bytes), "bytes" (a string: base64 in JSON, a
	// byte string in CBOR), "date-time" (a string in JSON, a tagged time in CBOR), "duration" (an integer: nanoseconds).
	Format string `json:"format,omitempty"`
	// Title is the name of the Go type, for people. It has no part in comparisons.
	Title      string             `json:"title,omitempty"`
	Properties map[string]*Schema `json:"properties,omitempty"`
	// Required names the properties that must be there, sorted. Properties that are not named in an object are faults
	// unless Additional allows them.
	Required []string `json:"required,omitempty"`
	Items    *Schema  `json:"items,omitempty"`
	// Additional is the schema of all further properties: set for maps.
	Additional *Schema `json:"additionalProperties,omitempty"`
	Nullable   bool    `json:"nullable,omitempty"`
}

// Formats.
const (
	FormatBlob     = "blob"
	FormatAudio    = "audio"
	FormatBytes    = "bytes"
	FormatDateTime = "date-time"
	FormatDuration = "duration"
)

// maxSchemaDepth bounds the nesting of a schema and so of all that walks it.
const maxSchemaDepth = 32

// SchemaOf derives the schema of a Go type, as encoding/json would show its values. It returns an error wrapping
// [ErrInvalid] for what has no schema: recursive types, channels, funcs, maps without string keys.
func SchemaOf(t reflect.Type) (*Schema, error) { return schemaOf(t, 0) }

func schemaOf(t reflect.Type, depth int) (*Schema, error) {
	if depth > maxSchemaDepth {
		return nil, fmt.Errorf("%w: type %s nests deeper than %d: recursive types have no schema", ErrInvalid, t, maxSchemaDepth)
	}
	switch t {
	case reflect.TypeFor[time.Time]():
		return &Schema{Type: "string", Format: FormatDateTime}, nil
	case reflect.TypeFor[time.Duration]():
		return &Schema{Type: "integer", Format: FormatDuration}, nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		s, err := schemaOf(t.Elem(), depth+1)
		if err != nil {
			return nil, err
		}
		nullable := *s
		nullable.Nullable = true
		return &nullable, nil
	case reflect.Interface:
		if t.NumMethod() == 0 {
			return &Schema{}, nil
		}
	case reflect.Bool:
		return &Schema{Type: "boolean"}, nil
	case reflect.String:
		return &Schema{Type: "string"}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &Schema{Type: "integer"}, nil
	case reflect.Float32, reflect.Float64:
		return &Schema{Type: "number"}, nil
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 && t.Kind() == reflect.Slice {
			return &Schema{Type: "string", Format: FormatBytes}, nil
		}
		items, err := schemaOf(t.Elem(), depth+1)
		if err != nil {
			return nil, err
		}
		return &Schema{Type: "array", Items: items}, nil
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			break
		}
		elem, err := schemaOf(t.Elem(), depth+1)
		if err != nil {
			return nil, err
		}
		return &Schema{Type: "object", Additional: elem}, nil
	case reflect.Struct:
		return structSchema(t, depth)
	}
	return nil, fmt.Errorf("%w: type %s has no schema", ErrInvalid, t)
}

func structSchema(t reflect.Type, depth int) (*Schema, error) {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return nil, fmt.Errorf("%w: type %s marshals itself and has no schema; use a string field", ErrInvalid, t)
	}
	s := &Schema{Type: "object", Title: t.Name(), Properties: map[string]*Schema{}}
	switch t {
	case reflect.TypeFor[Blob]():
		s.Format = FormatBlob
	case reflect.TypeFor[Audio]():
		s.Format = FormatAudio
	}
	for f := range t.Fields() {
		tag, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "-" && opts == "" {
			continue
		}
		if f.Anonymous && tag == "" && f.Type.Kind() == reflect.Struct {
			inner, err := structSchema(f.Type, depth+1)
			if err != nil {
				return nil, err
			}
			maps.Copy(s.Properties, inner.Properties)
			s.Required = append(s.Required, inner.Required...)
			continue
		}
		if !f.IsExported() {
			continue
		}
		name := f.Name
		if tag != "" {
			name = tag
		}
		fs, err := schemaOf(f.Type, depth+1)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
		s.Properties[name] = fs
		if !strings.Contains(","+opts+",", ",omitempty,") && !strings.Contains(","+opts+",", ",omitzero,") && f.Type.Kind() != reflect.Pointer {
			s.Required = append(s.Required, name)
		}
	}
	slices.Sort(s.Required)
	s.Required = slices.Compact(s.Required)
	return s, nil
}

// Validate returns an error wrapping [ErrInvalid] that names the first place where s is not a schema.
func (s *Schema) Validate() error { return s.validate("schema", 0) }

func (s *Schema) validate(at string, depth int) error {
	if depth > maxSchemaDepth {
		return fmt.Errorf("%w: %s nests deeper than %d", ErrInvalid, at, maxSchemaDepth)
	}
	if !slices.Contains([]string{"", "object", "array", "string", "integer", "number", "boolean"}, s.Type) {
		return fmt.Errorf("%w: %s: unknown type %q", ErrInvalid, at, s.Type)
	}
	want, known := map[string]string{
		"": s.Type, FormatBlob: "object", FormatAudio: "object", FormatBytes: "string", FormatDateTime: "string", FormatDuration: "integer",
	}[s.Format]
	if !known || want != s.Type {
		return fmt.Errorf("%w: %s: format %q does not belong to type %q", ErrInvalid, at, s.Format, s.Type)
	}
	if s.Type == "array" && s.Items == nil {
		return fmt.Errorf("%w: %s: an array needs items", ErrInvalid, at)
	}
	for _, name := range s.Required {
		if s.Properties[name] == nil {
			return fmt.Errorf("%w: %s: required property %q is not declared", ErrInvalid, at, name)
		}
	}
	for name, p := range s.Properties {
		if p == nil {
			return fmt.Errorf("%w: %s.%s has no schema", ErrInvalid, at, name)
		}
		if err := p.validate(at+"."+name, depth+1); err != nil {
			return err
		}
	}
	for _, inner := range []*Schema{s.Items, s.Additional} {
		if inner != nil {
			if err := inner.validate(at+"[]", depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// AssignableTo returns nil if every value of s is a value of want. Its error wraps [ErrInvalid] and names the place.
func (s *Schema) AssignableTo(want *Schema) error { return s.assignable(want, "value") }

func (s *Schema) assignable(want *Schema, at string) error {
	mismatch := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: "+format, append([]any{ErrInvalid, at}, args...)...)
	}
	switch {
	case want.Type == "" && want.Format == "":
		return nil
	case s.Type == "integer" && want.Type == "number" && s.Format == "":
	case s.Type != want.Type || s.Format != want.Format && !(s.Format == FormatAudio && want.Format == FormatBlob):
		return mismatch("%s is not %s", s, want)
	case s.Nullable && !want.Nullable:
		return mismatch("may be null where null is not allowed")
	}
	if s.Type == "array" {
		return s.Items.assignable(want.Items, at+"[]")
	}
	if s.Type != "object" || want.Format == FormatBlob {
		return nil
	}
	for _, name := range want.Required {
		if !slices.Contains(s.Required, name) {
			return mismatch("property %q is required but may be missing in %s", name, s)
		}
	}
	for name, p := range s.Properties {
		w := want.Properties[name]
		if w == nil {
			w = want.Additional
		}
		if w == nil {
			return mismatch("%s has a property %q that %s does not know", s, name, want)
		}
		if err := p.assignable(w, at+"."+name); err != nil {
			return err
		}
	}
	if s.Additional != nil {
		if want.Additional == nil {
			return mismatch("%s may have any property, %s not", s, want)
		}
		return s.Additional.assignable(want.Additional, at+"[*]")
	}
	return nil
}

// String returns the type for people: its title if it has one.
func (s *Schema) String() string {
	switch {
	case s == nil:
		return "nothing"
	case s.Title != "":
		return s.Title
	case s.Type == "array":
		return "[]" + s.Items.String()
	case s.Type == "":
		return "any"
	case s.Format != "":
		return s.Format
	}
	return s.Type
}

// SchemaFor derives the schema of T. It panics if T has none: it is for types that are known to have one.
func SchemaFor[T any]() *Schema {
	s, err := SchemaOf(reflect.TypeFor[T]())
	if err != nil {
		panic(errors.Join(errors.New("functions: SchemaFor"), err))
	}
	return s
}
