// Package value turns values into their encodings and back: Go values and CBOR (RFC 8949), and CBOR and JSON by
// schema. Inside Catenary a value is CBOR; at the doors it is JSON.
//
// [Encode] and [Decode] are for Go types; [Codec] is both as an sdk.Codec. [FromJSON] and [ToJSON] transcode by a
// functions.Schema, [Check] tells whether CBOR fits one, [Any] decodes for CEL, [Blobs] finds the blobs that a value
// refers to. They all rest on one walk of a value by its schema, in conform.go.
//
// Caveats:
//   - Integers stay integers (int64, uint64 where larger) and bytes stay bytes. JSON shows bytes as base64.
//   - A nil slice or map is encoded as an empty one. NaN and the infinities are errors.
//   - The zero time.Time is null in CBOR; where a schema asks for a time, null is the zero time.
//   - Decode takes what has a place in the Go type and leaves the rest; only Check holds a value to its schema.
//   - Everything here may be called concurrently. The depth and the counts of what is decoded are bounded.
package value
