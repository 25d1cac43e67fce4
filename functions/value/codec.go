package value

import (
	"github.com/catenary-run/catenary/functions"
	"github.com/fxamacker/cbor/v2"
)

// Encode returns v as CBOR in core deterministic form. Struct fields have the names of their json tags.
func Encode(v any) ([]byte, error) { return cbor.Marshal(v) }

// Decode reads one CBOR value into v. It returns an error wrapping functions.ErrInvalid if b is not one, or does not fit.
func Decode(b []byte, v any) error { return cbor.Unmarshal(b, v) }

// Codec is Encode and Decode as an sdk.Codec.
type Codec struct{}

// Encode calls [Encode].
func (Codec) Encode(v any) ([]byte, error) { return Encode(v) }

// Decode calls [Decode].
func (Codec) Decode(b []byte, v any) error { return Decode(b, v) }

// FromJSON reads JSON that fits s and returns it as CBOR. A blob in it is {"blob":"sha256:HEX",...} or
// {"data":BASE64,"type":TYPE}; of the second form it returns the bytes as attachments. Its error wraps
// functions.ErrInvalid and names the place, such as "value.items[3].id".
func FromJSON(s *functions.Schema, json []byte) (cborValue []byte, blobs []functions.Attachment, err error) {
	panic("value: FromJSON is not written yet")
}

// ToJSON returns a CBOR value that fits s as JSON.
func ToJSON(s *functions.Schema, cborValue []byte) ([]byte, error) {
	panic("value: ToJSON is not written yet")
}

// Check returns an error wrapping functions.ErrInvalid that names the place unless the CBOR value fits s.
func Check(s *functions.Schema, cborValue []byte) error {
	panic("value: Check is not written yet")
}

// Any decodes a CBOR value by s into bool, int64, uint64, float64, string, []byte, time.Time, time.Duration, []any and
// map[string]any.
func Any(s *functions.Schema, cborValue []byte) (any, error) {
	panic("value: Any is not written yet")
}

// Blobs returns the blobs that a CBOR value that fits s refers to, in the order of the value.
func Blobs(s *functions.Schema, cborValue []byte) ([]functions.Blob, error) {
	panic("value: Blobs is not written yet")
}
