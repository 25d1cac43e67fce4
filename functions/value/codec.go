package value

import (
	"fmt"
	"reflect"

	"github.com/catenary-run/catenary/functions"
	"github.com/fxamacker/cbor/v2"
)

// What is read from outside may not be larger than this, at any place of a value.
const (
	maxDepth    = 64      // a schema nests 32 deep; a value of any type may go deeper
	maxElements = 1 << 20 // of one array
	maxPairs    = 1 << 17 // of one object
)

// encoding is core deterministic CBOR: equal values have equal bytes. What has no place in JSON is refused here, where
// its maker sees it, and a Go type is encoded by its fields and kind, as functions.SchemaOf sees it.
var encoding = must(cbor.EncOptions{
	Sort:            cbor.SortCoreDeterministic,
	ShortestFloat:   cbor.ShortestFloat16,
	NaNConvert:      cbor.NaNConvertReject,
	InfConvert:      cbor.InfConvertReject,
	Time:            cbor.TimeRFC3339Nano,
	TimeTag:         cbor.EncTagRequired,
	IndefLength:     cbor.IndefLengthForbidden,
	NilContainers:   cbor.NilContainerAsEmpty,
	OmitEmpty:       cbor.OmitEmptyGoValue,
	ByteArray:       cbor.ByteArrayToArray,
	BinaryMarshaler: cbor.BinaryMarshalerNone,
}.EncMode())

var strict = cbor.DecOptions{
	DupMapKey:         cbor.DupMapKeyEnforcedAPF,
	TimeTag:           cbor.DecTagRequired,
	MaxNestedLevels:   maxDepth,
	MaxArrayElements:  maxElements,
	MaxMapPairs:       maxPairs,
	IndefLength:       cbor.IndefLengthForbidden,
	DefaultMapType:    reflect.TypeFor[map[string]any](),
	FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	NaN:               cbor.NaNDecodeForbidden,
	Inf:               cbor.InfDecodeForbidden,
	BignumTag:         cbor.BignumTagForbidden,
	BinaryUnmarshaler: cbor.BinaryUnmarshalerNone,
}

// decoding fills Go types. An integer in a field of type any is an int64, or a big.Int if it is larger.
var decoding = must(with(strict, func(o *cbor.DecOptions) { o.IntDec = cbor.IntDecConvertSignedOrBigInt }).DecMode())

// untyped fills an any for conform: integers are uint64, negative ones int64.
var untyped = must(strict.DecMode())

func with(o cbor.DecOptions, change func(*cbor.DecOptions)) cbor.DecOptions {
	change(&o)
	return o
}

func must[T any](mode T, err error) T {
	if err != nil {
		panic("value: " + err.Error()) // the options are constants
	}
	return mode
}

// Encode returns v as CBOR in core deterministic form. Struct fields have the names of their json tags. It returns an
// error wrapping [functions.ErrInvalid] for what has no encoding: a func, a channel, NaN.
func Encode(v any) ([]byte, error) {
	b, err := encoding.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: value of type %T: %w", functions.ErrInvalid, v, err)
	}
	return b, nil
}

// Decode reads one CBOR value into v, a pointer. It returns an error wrapping [functions.ErrInvalid] if b is not one,
// or does not fit.
func Decode(b []byte, v any) error {
	if err := decoding.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: value does not fit %s: %w", functions.ErrInvalid, pointee(v), err)
	}
	return nil
}

func pointee(v any) string {
	if t := reflect.TypeOf(v); t != nil && t.Kind() == reflect.Pointer {
		return t.Elem().String()
	}
	return fmt.Sprintf("%T (not a pointer)", v)
}

// Codec is Encode and Decode as an sdk.Codec.
type Codec struct{}

// Encode calls [Encode].
func (Codec) Encode(v any) ([]byte, error) { return Encode(v) }

// Decode calls [Decode].
func (Codec) Decode(b []byte, v any) error { return Decode(b, v) }
