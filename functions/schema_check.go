package functions

import (
	"fmt"
	"maps"
	"slices"
)

// Validate returns an error wrapping [ErrInvalid] that names the first place where s is not a schema.
func (s *Schema) Validate() error { return s.validate("schema", 0) }

func (s *Schema) validate(at string, depth int) error {
	if s == nil {
		return fmt.Errorf("%w: %s is missing", ErrInvalid, at)
	}
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
	switch {
	case s.Type == "array" && s.Items == nil:
		return fmt.Errorf("%w: %s: an array needs items", ErrInvalid, at)
	case s.Type != "array" && s.Items != nil:
		return fmt.Errorf("%w: %s: items belong to an array", ErrInvalid, at)
	case s.Type != "object" && (len(s.Properties) > 0 || len(s.Required) > 0 || s.Additional != nil):
		return fmt.Errorf("%w: %s: properties belong to an object", ErrInvalid, at)
	}
	for _, name := range s.Required {
		if s.Properties[name] == nil {
			return fmt.Errorf("%w: %s: required property %q is not declared", ErrInvalid, at, shorten(name))
		}
	}
	if s.Format == FormatBlob || s.Format == FormatAudio {
		for _, name := range []string{"blob", "type", "size"} {
			if !slices.Contains(s.Required, name) {
				return fmt.Errorf("%w: %s: format %s needs the property %s", ErrInvalid, at, s.Format, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if err := s.Properties[name].validate(at+"."+shorten(name), depth+1); err != nil {
			return err
		}
	}
	if s.Items != nil {
		if err := s.Items.validate(at+"[]", depth+1); err != nil {
			return err
		}
	}
	if s.Additional != nil {
		return s.Additional.validate(at+"[*]", depth+1)
	}
	return nil
}

// AssignableTo returns nil if every value of s is a value of want. Its error wraps [ErrInvalid] and names the place.
func (s *Schema) AssignableTo(want *Schema) error { return s.assignable(want, "value") }

func (s *Schema) assignable(want *Schema, at string) error {
	mismatch := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: "+format, append([]any{ErrInvalid, at}, args...)...)
	}
	audioAsBlob := s != nil && want != nil && s.Format == FormatAudio && want.Format == FormatBlob
	switch {
	case s == nil || want == nil:
		return mismatch("a schema is missing")
	case want.Type == "":
		return nil
	case s.Type == "integer" && want.Type == "number" && s.Format == "":
	case s.Type != want.Type || s.Format != want.Format && !audioAsBlob:
		return mismatch("%s is not %s", s, want)
	}
	switch {
	case s.Nullable && !want.Nullable:
		return mismatch("may be null where null is not allowed")
	case s.Type == "array":
		return s.Items.assignable(want.Items, at+"[]")
	case s.Type == "object" && !audioAsBlob:
		return s.assignableObject(want, at, mismatch)
	}
	return nil
}

func (s *Schema) assignableObject(want *Schema, at string, mismatch func(string, ...any) error) error {
	for _, name := range want.Required {
		if !slices.Contains(s.Required, name) {
			return mismatch("property %q is required but may be missing in %s", name, s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		w := want.Properties[name]
		if w == nil {
			w = want.Additional
		}
		if w == nil {
			return mismatch("%s has a property %q that %s does not know", s, name, want)
		}
		if err := s.Properties[name].assignable(w, at+"."+name); err != nil {
			return err
		}
	}
	if s.Additional == nil {
		return nil
	}
	if want.Additional == nil {
		return mismatch("%s may have any property, %s not", s, want)
	}
	// A further property of s may have the name of a property that only want declares.
	for _, name := range slices.Sorted(maps.Keys(want.Properties)) {
		if s.Properties[name] == nil {
			if err := s.Additional.assignable(want.Properties[name], at+"."+name); err != nil {
				return err
			}
		}
	}
	return s.Additional.assignable(want.Additional, at+"[*]")
}
