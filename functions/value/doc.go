// Package value turns values into their encodings and back: Go values and CBOR (RFC 8949), and CBOR and JSON by
// schema. Inside Catenary a value is CBOR; at the doors it is JSON.
//
// [Encode] and [Decode] are for Go types; [Codec] is both as an sdk.Codec. [FromJSON] and [ToJSON] transcode by a
// functions.Schema, [Check] tells whether CBOR fits one, [Any] decodes for CEL, [Blobs] finds the blobs that a value
// refers to.
//
// Caveats:
//   - Integers stay integers (int64, uint64 where larger) and bytes stay bytes. JSON shows bytes as base64.
//   - Everything here may be called concurrently. Depth, count and size of what is decoded are bounded.
package value
