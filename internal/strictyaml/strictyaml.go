// Package strictyaml decodes YAML into Go structs and finds every fault in one pass, each with file, line and column.
//
// [Decode] follows the yaml tags of struct fields. Keys that no field has, keys that are there twice, values of another
// type, aliases and second documents are faults. A string field tagged ",pos" gets the place of its struct. A type with
// UnmarshalText reads its scalar itself.
//
// Caveats:
//   - Only what configuration needs: structs, slices, pointers, strings, bools, ints, and any.
//   - Null is the zero value.
package strictyaml

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
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

// Decode reads one document into the struct that into points to. Name is that of the file, for messages. The error joins
// all faults, each wrapping functions.ErrInvalid.
func Decode(name string, data []byte, into any) error {
	d := &decoder{name: name}
	if len(data) > MaxBytes {
		return fmt.Errorf("%w: %s has %d bytes; at most %d are read", functions.ErrInvalid, name, len(data), MaxBytes)
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	var doc, second yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %s is empty", functions.ErrInvalid, name)
	} else if err != nil {
		return d.syntax(err)
	}
	if err := loader.Load(&second); err == nil {
		return fmt.Errorf("%w: %s: a second document begins; one is read", functions.ErrInvalid, d.place(&second))
	} else if !errors.Is(err, io.EOF) {
		return d.syntax(err)
	}
	d.decode(doc.Content[0], reflect.ValueOf(into).Elem(), 0)
	return errors.Join(d.faults...)
}

type decoder struct {
	name   string
	faults []error
}

// parserPlace is how the parser tells a place.
var parserPlace = regexp.MustCompile(`(?:at )?L(\d+)(?:-L?\d+)?\.C(\d+)(?:-L?\d*\.?C?\d+)?: ?`)

// syntax turns the parser's own error into one of ours, with the place in front.
func (d *decoder) syntax(err error) error {
	text := strings.TrimPrefix(functions.OneLine(err), "go-yaml load error in parser ")
	if m := parserPlace.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%w: %s:%s:%s: not YAML: %s", functions.ErrInvalid, d.name, m[1], m[2], strings.Replace(text, m[0], "", 1))
	}
	return fmt.Errorf("%w: %s: not YAML: %s", functions.ErrInvalid, d.name, text)
}

func (d *decoder) place(n *yaml.Node) string {
	return fmt.Sprintf("%s:%d:%d", d.name, n.Line, n.Column)
}

func (d *decoder) fault(n *yaml.Node, format string, args ...any) {
	d.faults = append(d.faults, fmt.Errorf("%w: %s: "+format, append([]any{functions.ErrInvalid, d.place(n)}, args...)...))
}

func (d *decoder) decode(n *yaml.Node, v reflect.Value, depth int) {
	switch {
	case depth > maxDepth:
		d.fault(n, "nested deeper than %d", maxDepth)
		return
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fault(n, "anchors and aliases are not allowed; write the value out")
		return
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null" && v.Kind() != reflect.Interface:
		return
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if n.Kind != yaml.ScalarNode {
			d.fault(n, "want one value, not %s", kind(n))
		} else if err := text.UnmarshalText([]byte(n.Value)); err != nil {
			d.faults = append(d.faults, fmt.Errorf("%s: %w", d.place(n), err))
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
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag.Get("yaml")
		if tag == ",pos" {
			v.Field(i).SetString(d.place(n))
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
