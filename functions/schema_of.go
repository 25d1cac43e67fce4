package functions

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// SchemaOf derives the schema of a Go type, as encoding/json would show its values. It returns an error wrapping
// [ErrInvalid] that names the field for what has no schema: types that contain themselves, channels, funcs, maps
// without string keys, types that marshal themselves, two fields of one name.
func SchemaOf(t reflect.Type) (*Schema, error) { return schemaOf(t, nil) }

// schemaOf derives the schema of t; around are the types that t is a part of, from the outside in.
func schemaOf(t reflect.Type, around []reflect.Type) (*Schema, error) {
	switch t {
	case reflect.TypeFor[time.Time]():
		return &Schema{Type: "string", Format: FormatDateTime}, nil
	case reflect.TypeFor[time.Duration]():
		return &Schema{Type: "integer", Format: FormatDuration}, nil
	}
	switch {
	case slices.Contains(around, t):
		return nil, fmt.Errorf("%w: type %s contains itself and has no schema", ErrInvalid, t)
	case len(around) == maxSchemaDepth:
		return nil, fmt.Errorf("%w: type %s nests deeper than %d", ErrInvalid, around[0], maxSchemaDepth)
	case marshalsItself(t):
		return nil, fmt.Errorf("%w: type %s marshals itself and has no schema; use a plain type such as string", ErrInvalid, t)
	}
	around = append(slices.Clip(around), t)
	switch t.Kind() {
	case reflect.Pointer:
		s, err := schemaOf(t.Elem(), around)
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
	case reflect.Array: // a schema has no lengths, and a decoder would cut what is longer and fill up what is shorter
		return nil, fmt.Errorf("%w: type %s has a fixed length, which a schema can't say; use a slice", ErrInvalid, t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return &Schema{Type: "string", Format: FormatBytes}, nil
		}
		items, err := schemaOf(t.Elem(), around)
		if err != nil {
			return nil, err
		}
		return &Schema{Type: "array", Items: items}, nil
	case reflect.Map:
		if t.Key().Kind() != reflect.String || marshalsItself(t.Key()) {
			break
		}
		elem, err := schemaOf(t.Elem(), around)
		if err != nil {
			return nil, err
		}
		return &Schema{Type: "object", Additional: elem}, nil
	case reflect.Struct:
		return structSchema(t, around)
	}
	return nil, fmt.Errorf("%w: type %s has no schema", ErrInvalid, t)
}

// marshalsItself reports whether t chooses its own form in JSON, which then is not that of its fields or kind.
func marshalsItself(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return false // what it points to is asked
	}
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Marshaler]()) || p.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

func structSchema(t reflect.Type, around []reflect.Type) (*Schema, error) {
	s := &Schema{Type: "object", Title: t.Name(), Properties: map[string]*Schema{}}
	switch t {
	case reflect.TypeFor[Blob]():
		s.Format = FormatBlob
	case reflect.TypeFor[Audio]():
		s.Format = FormatAudio
	}
	for f := range t.Fields() {
		if err := s.addField(t, f, around); err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
	}
	slices.Sort(s.Required)
	return s, nil
}

// addField adds the properties that field f of t stands for: none, one, or those of an embedded struct.
func (s *Schema) addField(t reflect.Type, f reflect.StructField, around []reflect.Type) error {
	tag := f.Tag.Get("json")
	if tag == "-" {
		return nil
	}
	if _, ok := f.Tag.Lookup("cbor"); ok {
		return fmt.Errorf("%w: a cbor tag has no schema; use a json tag", ErrInvalid)
	}
	name, list, _ := strings.Cut(tag, ",")
	options := strings.Split(list, ",")
	if slices.Contains(options, "string") {
		return fmt.Errorf("%w: the json option string has no schema", ErrInvalid)
	}
	if inner := f.Type; f.Anonymous && name == "" {
		pointer := inner.Kind() == reflect.Pointer
		if pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			if pointer && !f.IsExported() {
				return fmt.Errorf("%w: an embedded pointer to an unexported struct can't be decoded", ErrInvalid)
			}
			embedded, err := schemaOf(inner, around)
			if err != nil {
				return err
			}
			for _, name := range slices.Sorted(maps.Keys(embedded.Properties)) {
				required := slices.Contains(embedded.Required, name) && !pointer
				if err := s.addProperty(t, name, embedded.Properties[name], required); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if !f.IsExported() {
		return nil
	}
	if name == "" {
		name = f.Name
	}
	fs, err := schemaOf(f.Type, around)
	if err != nil {
		return err
	}
	optional := slices.Contains(options, "omitempty") || slices.Contains(options, "omitzero") || f.Type.Kind() == reflect.Pointer
	return s.addProperty(t, name, fs, !optional)
}

func (s *Schema) addProperty(t reflect.Type, name string, p *Schema, required bool) error {
	if s.Properties[name] != nil {
		return fmt.Errorf("%w: type %s has two fields that are %q in JSON", ErrInvalid, t, name)
	}
	s.Properties[name] = p
	if required {
		s.Required = append(s.Required, name)
	}
	return nil
}

// SchemaFor derives the schema of T. It panics if T has none: it is for types that are known to have one.
func SchemaFor[T any]() *Schema {
	s, err := SchemaOf(reflect.TypeFor[T]())
	if err != nil {
		panic(errors.Join(errors.New("functions: SchemaFor"), err))
	}
	return s
}
