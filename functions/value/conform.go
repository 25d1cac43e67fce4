package value

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// Check returns an error wrapping [functions.ErrInvalid] that names the place unless the CBOR value fits s.
func Check(s *functions.Schema, cborValue []byte) error {
	_, err := Any(s, cborValue)
	return err
}

// Any decodes a CBOR value by s into bool, int64, uint64 (where int64 is too small), float64, string, []byte,
// time.Time, time.Duration, []any, map[string]any and nil. Its errors are those of [Check].
func Any(s *functions.Schema, cborValue []byte) (any, error) {
	var c conformer
	return c.decode(s, cborValue)
}

// Blobs returns the blobs that a CBOR value that fits s refers to: elements of an array in their order, properties of
// an object in the order in which [Encode] writes them.
func Blobs(s *functions.Schema, cborValue []byte) ([]functions.Blob, error) {
	if !mayHoldBlobs(s) {
		return nil, nil
	}
	return CheckBlobs(s, cborValue)
}

// CheckBlobs is [Check] and [Blobs] in one pass. Unlike Blobs alone it checks values of schemas without blobs, too.
func CheckBlobs(s *functions.Schema, cborValue []byte) ([]functions.Blob, error) {
	if fits(s, cborValue) {
		return nil, nil
	}
	var c conformer
	if _, err := c.decode(s, cborValue); err != nil {
		return nil, err
	}
	return c.blobs, nil
}

func mayHoldBlobs(s *functions.Schema) bool {
	if s == nil {
		return false
	}
	if s.Format == functions.FormatBlob || s.Format == functions.FormatAudio || mayHoldBlobs(s.Items) || mayHoldBlobs(s.Additional) {
		return true
	}
	for _, p := range s.Properties {
		if mayHoldBlobs(p) {
			return true
		}
	}
	return false
}

// conformer makes a decoded value conform to a schema: it checks it and gives it the types that [Any] returns.
type conformer struct {
	// forJSON makes a float of a value of any type a json.Number that JSON reads as a float again: 1.0, not 1.
	forJSON bool
	blobs   []functions.Blob // that were seen
}

func (c *conformer) decode(s *functions.Schema, cborValue []byte) (any, error) {
	var v any
	if err := untyped.Unmarshal(cborValue, &v); err != nil {
		return nil, fmt.Errorf("%w: value is not the CBOR that is allowed here: %w", functions.ErrInvalid, err)
	}
	return c.conform(s, v, nil)
}

// conform returns v, what CBOR or JSON was decoded into, as a value of s. It may change v.
func (c *conformer) conform(s *functions.Schema, v any, at *path) (any, error) {
	if s == nil {
		return nil, at.fault("has no schema")
	}
	if s.Type == "" {
		return c.anything(v, at)
	}
	if v == nil {
		switch {
		case s.Nullable:
			return nil, nil
		case s.Format == functions.FormatDateTime:
			return time.Time{}, nil // its encoding
		}
		return nil, at.fault("is null, want %s", s)
	}
	switch v := v.(type) {
	case bool:
		if s.Type == "boolean" {
			return v, nil
		}
	case uint64:
		if v <= math.MaxInt64 {
			return c.conform(s, int64(v), at)
		}
		switch {
		case s.Type == "number":
			return float64(v), nil
		case s.Type == "integer" && s.Format == "":
			return v, nil
		case s.Format == functions.FormatDuration:
			return nil, at.fault("%d is too large for a duration", v)
		}
	case int64:
		switch {
		case s.Type == "number":
			return float64(v), nil
		case s.Format == functions.FormatDuration:
			return time.Duration(v), nil
		case s.Type == "integer":
			return v, nil
		}
	case float64:
		if s.Type == "number" {
			return v, nil
		}
	case string:
		if s.Type == "string" && s.Format == "" {
			return v, nil
		}
	case []byte:
		if s.Format == functions.FormatBytes {
			return v, nil
		}
	case time.Time:
		if s.Format == functions.FormatDateTime {
			return v, nil
		}
	case []any:
		if s.Type == "array" {
			return c.array(s, v, at)
		}
	case map[string]any:
		if s.Type == "object" {
			return c.object(s, v, at)
		}
	}
	return nil, at.fault("got %s, want %s", nameOf(v), s)
}

func (c *conformer) array(s *functions.Schema, v []any, at *path) (any, error) {
	for i, elem := range v {
		elem, err := c.conform(s.Items, elem, at.element(i))
		if err != nil {
			return nil, err
		}
		v[i] = elem
	}
	return v, nil
}

func (c *conformer) object(s *functions.Schema, v map[string]any, at *path) (any, error) {
	if s.Format == functions.FormatBlob && v["sample_hz"] != nil {
		s = audioSchema // audio may stand where any blob may
	}
	for _, name := range s.Required {
		if _, there := v[name]; !there {
			return nil, at.fault("property %s is missing", quote(name))
		}
	}
	for _, name := range sortedKeys(v) {
		p := s.Properties[name]
		if p == nil {
			p = s.Additional
		}
		if p == nil {
			return nil, at.property(name).fault("is not a property of %s", s)
		}
		prop, err := c.conform(p, v[name], at.property(name))
		if err != nil {
			return nil, err
		}
		v[name] = prop
	}
	if s.Format == functions.FormatBlob || s.Format == functions.FormatAudio {
		return v, c.blob(v, at)
	}
	return v, nil
}

var audioSchema = functions.SchemaFor[functions.Audio]()

// blob notes the blob that v refers to.
func (c *conformer) blob(v map[string]any, at *path) error {
	// A schema that calls itself a blob need not have a blob's properties.
	digest, _ := v["blob"].(string)
	mediaType, _ := v["type"].(string)
	size, _ := v["size"].(int64)
	d, err := functions.ParseDigest(digest)
	switch {
	case err != nil:
		return at.property("blob").fault("%s is not sha256: and 64 lower-case hex digits", quote(digest))
	case string(d) != digest:
		return at.property("blob").fault("%s has no sha256: before it", quote(digest))
	case size < 0:
		return at.property("size").fault("%d is negative", size)
	}
	c.blobs = append(c.blobs, functions.Blob{Digest: d, Type: mediaType, Size: size})
	return nil
}

// anything takes v where the schema allows any value.
func (c *conformer) anything(v any, at *path) (any, error) {
	switch v := v.(type) {
	case nil, bool, int64, string, []byte, time.Time:
		return v, nil
	case uint64:
		if v <= math.MaxInt64 {
			return int64(v), nil
		}
		return v, nil
	case float64:
		if c.forJSON {
			return floatNumber(v), nil
		}
		return v, nil
	case []any:
		for i, elem := range v {
			elem, err := c.anything(elem, at.element(i))
			if err != nil {
				return nil, err
			}
			v[i] = elem
		}
		return v, nil
	case map[string]any:
		for name, p := range v {
			p, err := c.anything(p, at.property(name))
			if err != nil {
				return nil, err
			}
			v[name] = p
		}
		return v, nil
	}
	return nil, at.fault("%s has no place in a value", nameOf(v))
}

// floatNumber returns f as JSON that shows that it is not an integer.
func floatNumber(f float64) json.Number {
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return json.Number(text)
}

// sortedKeys returns the keys of v in the order of core deterministic CBOR.
func sortedKeys(v map[string]any) []string {
	return slices.SortedFunc(maps.Keys(v), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
}

// nameOf says what v is, in the words of a schema.
func nameOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case int64, uint64:
		return "integer"
	case float64:
		return "number"
	case string:
		return "string"
	case []byte:
		return "bytes"
	case time.Time:
		return "date-time"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	default:
		return fmt.Sprintf("a CBOR item of type %T", v)
	}
}
