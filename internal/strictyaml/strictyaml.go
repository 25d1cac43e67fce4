// Package strictyaml decodes YAML into Go structs and finds every fault in one pass, each with file, line and column.
//
// [Decode] follows the yaml tags of struct fields. Keys that no field has, keys that are there twice, values of another
// type, aliases and second documents are faults. A field of type [Places] tagged ",pos" gets the places of its struct
// and of all that stands in it, so that who checks the values can say where they are: [At] makes such a [Fault]. A type
// with UnmarshalText reads its scalar itself.
//
// Caveats:
//   - Only what configuration needs: structs, slices, pointers, strings, bools, ints, and any.
//   - Null is the zero value; of a struct, one that knows its place.
package strictyaml

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/catenary-run/catenary/functions"
)

// MaxBytes bounds the text that Decode reads.
const MaxBytes = 1 << 20

// maxDepth bounds the nesting of a document.
const maxDepth = 64

// Places says where a struct and the values of its keys stand, as file:line:col. The struct's own key is "", that of the
// first item of a list is KEY/0.
type Places map[string]string

// Of returns the place of the value of key, or that of the struct if the key is not there.
func (p Places) Of(key string) string {
	if at, ok := p[key]; ok {
		return at
	}
	return p[""]
}

// Fault is one thing that is wrong with a file.
type Fault struct {
	Place   string // file:line:col
	Message string // what is wrong, and what to do
	Err     error  // the class of the error, or its cause
}

func (f *Fault) Error() string { return f.Place + ": " + f.Message }

// Unwrap returns what class of error it is.
func (f *Fault) Unwrap() error { return f.Err }

// At returns err as a fault of what stands at place. That it is invalid goes without saying there.
func At(place string, err error) error {
	return &Fault{place, strings.TrimPrefix(err.Error(), functions.ErrInvalid.Error()+": "), err}
}

// Decode reads one document into the struct that into points to. Name is that of the file, for messages. The error joins
// all faults, each a [*Fault] wrapping functions.ErrInvalid.
func Decode(name string, data []byte, into any) error {
	d := &decoder{name: name}
	top := &yaml.Node{Line: 1, Column: 1}
	if len(data) > MaxBytes {
		d.fault(top, "the file has %d bytes; at most %d are read", len(data), MaxBytes)
		return d.err()
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	var doc, second yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) {
		d.fault(top, "the file is empty")
		return d.err()
	} else if err != nil {
		d.syntax(err)
		return d.err()
	}
	if err := loader.Load(&second); err == nil {
		d.fault(&second, "a second document begins; one is read")
		return d.err()
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
		return d.err()
	}
	d.decode(doc.Content[0], reflect.ValueOf(into).Elem(), 0)
	return d.err()
}

type decoder struct {
	name   string
	faults []error
}

func (d *decoder) err() error { return errors.Join(d.faults...) }

// syntax notes the parser's own error, with its place.
func (d *decoder) syntax(err error) {
	at, text := &yaml.Node{Line: 1, Column: 1}, functions.OneLine(err)
	if load, ok := errors.AsType[*yaml.LoadError](err); ok {
		text = load.Message
		if load.ContextMsg != "" {
			text = load.ContextMsg + ": " + text
		}
		at.Line, at.Column = max(1, load.Mark.Line), max(1, load.Mark.Column)
	}
	d.fault(at, "not YAML: %s", text)
}

func (d *decoder) place(n *yaml.Node) string {
	return fmt.Sprintf("%s:%d:%d", d.name, n.Line, n.Column)
}

func (d *decoder) fault(n *yaml.Node, format string, args ...any) {
	d.faults = append(d.faults, &Fault{d.place(n), fmt.Sprintf(format, args...), functions.ErrInvalid})
}

func (d *decoder) decode(n *yaml.Node, v reflect.Value, depth int) {
	switch {
	case depth > maxDepth:
		d.fault(n, "nested deeper than %d", maxDepth)
		return
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fault(n, "anchors and aliases are not allowed; write the value out")
		return
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null" && v.Kind() == reflect.Struct:
		d.structure(&yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}, v, depth)
		return
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null" && v.Kind() != reflect.Interface:
		return
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if n.Kind != yaml.ScalarNode {
			d.fault(n, "want one value, not %s", kind(n))
		} else if err := text.UnmarshalText([]byte(n.Value)); err != nil {
			if !errors.Is(err, functions.ErrInvalid) {
				err = fmt.Errorf("%w: %w", functions.ErrInvalid, err)
			}
			d.faults = append(d.faults, At(d.place(n), err))
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(n, v.Elem(), depth+1)
	case reflect.Struct:
		d.structure(n, v, depth)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.fault(n, "want a list, not %s", kind(n))
			return
		}
		for _, item := range n.Content {
			elem := reflect.New(v.Type().Elem()).Elem()
			d.decode(item, elem, depth+1)
			v.Set(reflect.Append(v, elem))
		}
	case reflect.Interface:
		if value := d.free(n, depth); value != nil {
			v.Set(reflect.ValueOf(value))
		}
	default:
		d.scalar(n, v)
	}
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, depth int) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, "want keys and values, not %s", kind(n))
		return
	}
	fields := map[string]int{}
	var known []string
	places := Places{"": d.place(n)}
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag.Get("yaml")
		if tag == ",pos" {
			v.Field(i).Set(reflect.ValueOf(places))
		} else if tag != "" {
			fields[tag] = i
			known = append(known, tag)
		}
	}
	d.pairs(n, func(key, value *yaml.Node) {
		i, ok := fields[key.Value]
		if !ok {
			d.fault(key, "unknown key %q; known are %s", key.Value, strings.Join(known, ", "))
			return
		}
		places[key.Value] = d.place(value)
		if value.Kind == yaml.SequenceNode {
			for i, item := range value.Content {
				places[fmt.Sprintf("%s/%d", key.Value, i)] = d.place(item)
			}
		}
		d.decode(value, v.Field(i), depth+1)
	})
}

// pairs calls f for each key of a mapping that is there for the first time.
func (d *decoder) pairs(n *yaml.Node, f func(key, value *yaml.Node)) {
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			d.fault(key, "a key must be a plain text")
			continue
		}
		if first := seen[key.Value]; first != nil {
			d.fault(key, "key %q is there already, in line %d", key.Value, first.Line)
			continue
		}
		seen[key.Value] = key
		f(key, n.Content[i+1])
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.fault(n, "want one value, not %s", kind(n))
		return
	}
	switch v.Kind() {
	case reflect.String:
		// yes, 1.10 and 2024-01-01 are texts where a text is wanted.
		v.SetString(n.Value)
	case reflect.Bool:
		if !slices.Contains([]string{"true", "false"}, n.Value) {
			d.fault(n, "want true or false, not %q", n.Value)
			return
		}
		v.SetBool(n.Value == "true")
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		if err != nil {
			d.fault(n, "want a whole number, not %q", n.Value)
			return
		}
		v.SetInt(i)
	default:
		panic("strictyaml: no support for fields of type " + v.Type().String())
	}
}

// free decodes what has no type: maps with string keys, lists, texts, bools and numbers.
func (d *decoder) free(n *yaml.Node, depth int) any {
	switch {
	case depth > maxDepth:
		d.fault(n, "nested deeper than %d", maxDepth)
		return nil
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fault(n, "anchors and aliases are not allowed; write the value out")
		return nil
	case n.Kind == yaml.MappingNode:
		m := map[string]any{}
		d.pairs(n, func(key, value *yaml.Node) { m[key.Value] = d.free(value, depth+1) })
		return m
	case n.Kind == yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, d.free(item, depth+1))
		}
		return list
	}
	var v any
	if err := n.Decode(&v); err != nil {
		d.fault(n, "%s", functions.OneLine(err))
	}
	return v
}

func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%q", n.Value)
}
