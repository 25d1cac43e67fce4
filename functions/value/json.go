package value

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/catenary-run/catenary/functions"
)

// ToJSON returns a CBOR value that fits s as JSON: no spaces, properties sorted by name, floats at their shortest.
func ToJSON(s *functions.Schema, cborValue []byte) ([]byte, error) {
	c := conformer{forJSON: true}
	v, err := c.decode(s, cborValue)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: value has no JSON: %w", functions.ErrInvalid, err) // a time after the year 9999
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// FromJSON reads JSON that fits s and returns it as CBOR. A blob in it is {"data":BASE64,"type":TYPE}, whose bytes it
// returns as an attachment, or {"blob":"sha256:HEX","type":TYPE,...}. Its error names the place, such as
// "value.items[3].id", and wraps [functions.ErrInvalid] or what open returned.
//
// With open, which returns the bytes of a digest, what the JSON refers to is attached too. A reference may then leave
// out what its bytes say: the size, and the header and the type of audio; what it does say must be right. open is
// called once for a digest, after all of the JSON was read. Without it a reference has to be whole, and stays as it is.
//
// Where s wants an integer, 1.0 and 1e3 are integers too; where s allows any value, a number is one if it is written
// without fraction and exponent.
func FromJSON(s *functions.Schema, text []byte, open func(functions.Digest) ([]byte, error)) (cborValue []byte, blobs []functions.Attachment, err error) {
	if !utf8.Valid(text) {
		return nil, nil, fmt.Errorf("%w: value: the JSON is not UTF-8", functions.ErrInvalid)
	}
	r := reader{dec: json.NewDecoder(bytes.NewReader(text)), keepsRefs: open != nil}
	r.dec.UseNumber()
	v, err := r.value(s, nil, 0)
	if err != nil {
		return nil, nil, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("%w: value: there is more after the JSON, at byte %d", functions.ErrInvalid, r.dec.InputOffset())
	}
	for _, ref := range r.refs {
		if err := r.resolve(ref, open); err != nil {
			return nil, nil, err
		}
	}
	var c conformer
	if v, err = c.conform(s, v, nil); err != nil {
		return nil, nil, err
	}
	b, err := Encode(v)
	return b, r.blobs, err
}

// reader turns JSON into what a CBOR decoder would have made of the same value. It converts where the schema says how
// and leaves all else, what does not fit too, to conform.
type reader struct {
	dec       *json.Decoder
	blobs     []functions.Attachment
	keepsRefs bool
	refs      []blobRef // what to resolve once all is read: the bytes may come later in the JSON
}

func (r *reader) token(at *path) (json.Token, error) {
	t, err := r.dec.Token()
	switch {
	case errors.Is(err, io.EOF):
		return nil, at.fault("the JSON ends too early")
	case err != nil:
		return nil, at.fault("JSON: %v, at byte %d", err, r.dec.InputOffset())
	}
	return t, nil
}

// value reads one value that should fit s; s is nil where no schema is known.
func (r *reader) value(s *functions.Schema, at *path, depth int) (any, error) {
	if depth > maxDepth {
		return nil, at.fault("nests deeper than %d", maxDepth)
	}
	t, err := r.token(at)
	if err != nil {
		return nil, err
	}
	if s == nil {
		s = &functions.Schema{}
	}
	switch t := t.(type) {
	case json.Number:
		return number(s, t.String(), at)
	case string:
		return text(s, t, at)
	case json.Delim:
		if t == '[' {
			return r.array(s, at, depth)
		}
		return r.object(s, at, depth)
	}
	return t, nil // a bool or nil
}

func (r *reader) array(s *functions.Schema, at *path, depth int) (any, error) {
	v := []any{}
	for r.dec.More() {
		if len(v) == maxElements {
			return nil, at.fault("has more than %d elements", maxElements)
		}
		elem, err := r.value(s.Items, at.element(len(v)), depth+1)
		if err != nil {
			return nil, err
		}
		v = append(v, elem)
	}
	_, err := r.token(at) // the bracket
	return v, err
}

func (r *reader) object(s *functions.Schema, at *path, depth int) (any, error) {
	isBlob := s.Format == functions.FormatBlob || s.Format == functions.FormatAudio
	v := map[string]any{}
	for r.dec.More() {
		t, err := r.token(at)
		if err != nil {
			return nil, err
		}
		name, _ := t.(string) // the decoder allows nothing else here
		if _, twice := v[name]; twice {
			return nil, at.property(name).fault("is there twice")
		}
		if len(v) == maxPairs {
			return nil, at.fault("has more than %d properties", maxPairs)
		}
		p := s.Properties[name]
		switch {
		case p == nil && isBlob && name == "data":
			p = bytesSchema
		case p == nil && isBlob:
			p = audioSchema.Properties[name]
		case p == nil:
			p = s.Additional
		}
		if v[name], err = r.value(p, at.property(name), depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := r.token(at); err != nil { // the brace
		return nil, err
	}
	if isBlob {
		return r.blob(s, v, at)
	}
	return v, nil
}

// text converts a string of JSON by s.
func text(s *functions.Schema, t string, at *path) (any, error) {
	switch s.Format {
	case functions.FormatBytes:
		b, err := base64.StdEncoding.Strict().DecodeString(t)
		if err != nil {
			return nil, at.fault("is not base64: %v", err)
		}
		return b, nil
	case functions.FormatDateTime:
		parsed, err := time.Parse(time.RFC3339Nano, t)
		if err != nil {
			return nil, at.fault("%s is not a date and time such as 2006-01-02T15:04:05Z", quote(t))
		}
		return parsed, nil
	}
	return t, nil
}

// number converts a number of JSON by s.
func number(s *functions.Schema, t string, at *path) (any, error) {
	if s.Type == "integer" || s.Type == "" && !strings.ContainsAny(t, ".eE") {
		if i, ok := integer(t); ok {
			return i, nil
		}
		return nil, at.fault("%s is not an integer of 64 bits", quote(t))
	}
	f, err := strconv.ParseFloat(t, 64)
	if err != nil || math.IsInf(f, 0) {
		return nil, at.fault("%s is too large for a number", quote(t))
	}
	return f, nil
}

// integer returns the number t of JSON as an int64, or as a uint64 if it is larger, if it is exactly one of those.
func integer(t string) (any, bool) {
	digits, negative := strings.CutPrefix(t, "-")
	digits, exponent, _ := strings.Cut(strings.ToLower(digits), "e")
	whole, fraction, _ := strings.Cut(digits, ".")
	scale := 0
	if exponent != "" {
		e, err := strconv.Atoi(exponent)
		if err != nil || e > len(t)+20 || e < -len(t)-20 {
			// Only a zero can have so large an exponent and still be an integer of 64 bits.
			return int64(0), strings.Trim(whole+fraction, "0") == ""
		}
		scale = e
	}
	digits = strings.TrimLeft(whole+fraction, "0")
	scale -= len(fraction)
	trimmed := strings.TrimRight(digits, "0")
	scale += len(digits) - len(trimmed)
	if trimmed == "" {
		return int64(0), true
	}
	if scale < 0 || len(trimmed)+scale > 20 {
		return nil, false
	}
	digits = trimmed + strings.Repeat("0", scale)
	if negative {
		i, err := strconv.ParseInt("-"+digits, 10, 64)
		return i, err == nil
	}
	if i, err := strconv.ParseInt(digits, 10, 64); err == nil {
		return i, true
	}
	u, err := strconv.ParseUint(digits, 10, 64)
	return u, err == nil
}
