package chains

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/cel-go/common/types"

	"github.com/catenary-run/catenary/functions"
)

// celTypes declares the objects of schemas as CEL structs. Their values stay map[string]any, as functions/value decodes
// them. Names of types have angle brackets: they show in messages, and no expression can construct one.
type celTypes struct {
	types.Provider
	byName map[string]*celObject
	byForm map[string]string // the schema as JSON -> its name: equal schemas are one type
	misses []celMiss         // fields asked for that no object has, in the order of the questions
}

type celObject struct {
	schema *functions.Schema
	fields map[string]*types.FieldType
}

type celMiss struct{ object, field, hint string }

func newCELTypes(base types.Provider) *celTypes {
	return &celTypes{Provider: base, byName: map[string]*celObject{}, byForm: map[string]string{}}
}

// FindStructType returns the type of a declared object.
func (t *celTypes) FindStructType(name string) (*types.Type, bool) {
	if _, ok := t.byName[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return t.Provider.FindStructType(name)
}

// FindStructFieldNames returns the fields of a declared object.
func (t *celTypes) FindStructFieldNames(name string) ([]string, bool) {
	if o, ok := t.byName[name]; ok {
		return slices.Sorted(maps.Keys(o.fields)), true
	}
	return t.Provider.FindStructFieldNames(name)
}

// FindStructFieldType returns the type of a declared field and how to read it.
func (t *celTypes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	o, ok := t.byName[name]
	if !ok {
		return t.Provider.FindStructFieldType(name, field)
	}
	f, ok := o.fields[field]
	if !ok {
		t.misses = append(t.misses, celMiss{name, field, didYouMean(field, slices.Collect(maps.Keys(o.fields)))})
	}
	return f, ok
}

// declare returns the CEL type of s. At says where it stands, to tell types of one title apart. What may be null has the
// type that it has otherwise: nullCheck sees to it that null is not taken for a value of that type.
func (t *celTypes) declare(s *functions.Schema, at string) *types.Type {
	switch {
	case s.Type == "":
		return types.DynType
	case s.Type == "array":
		return types.NewListType(t.declare(s.Items, at+"[]"))
	case s.Type == "object" && len(s.Properties) == 0 && s.Additional != nil:
		return types.NewMapType(types.StringType, t.declare(s.Additional, at+"[]"))
	case s.Type == "object":
		return types.NewObjectType(t.object(s, at))
	case s.Format == functions.FormatDateTime:
		return types.TimestampType
	case s.Format == functions.FormatDuration:
		return types.DurationType
	case s.Format == functions.FormatBytes:
		return types.BytesType
	}
	return map[string]*types.Type{
		"boolean": types.BoolType, "string": types.StringType, "integer": types.IntType, "number": types.DoubleType,
	}[s.Type]
}

// object declares an object and returns its name.
func (t *celTypes) object(s *functions.Schema, at string) string {
	bare := *s
	bare.Nullable = false // of an object that may be null the type is the same
	form, err := json.Marshal(bare)
	if err != nil {
		panic("chains: " + err.Error()) // plain data only
	}
	if name, ok := t.byForm[string(form)]; ok {
		return name
	}
	name := "<" + s.Title + ">"
	if s.Title == "" {
		name = "<" + at + ">"
	}
	if _, taken := t.byName[name]; taken {
		name = fmt.Sprintf("<%s at %s>", s.Title, at)
	}
	o := &celObject{schema: s, fields: map[string]*types.FieldType{}}
	t.byForm[string(form)], t.byName[name] = name, o
	for field, fs := range s.Properties {
		o.fields[field] = &types.FieldType{
			Type: t.declare(fs, at+"."+field),
			IsSet: func(v any) bool {
				object, _ := v.(map[string]any)
				return object[field] != nil
			},
			GetFrom: func(v any) (any, error) {
				object, ok := v.(map[string]any)
				if !ok {
					return nil, fmt.Errorf("field %q of null", field)
				}
				return present(fs, object[field]), nil
			},
		}
	}
	return name
}

// present returns v, or the zero value of s where v is absent: Go leaves out empty fields and encodes nil slices and
// maps as null.
func present(s *functions.Schema, v any) any {
	if v != nil || s.Nullable {
		return v
	}
	switch {
	case s.Type == "array":
		return []any{}
	case s.Type == "object":
		return map[string]any{}
	case s.Format == functions.FormatBytes:
		return []byte{}
	case s.Format == functions.FormatDateTime:
		return time.Time{}
	case s.Format == functions.FormatDuration:
		return time.Duration(0)
	}
	return map[string]any{"boolean": false, "string": "", "integer": int64(0), "number": float64(0)}[s.Type]
}
