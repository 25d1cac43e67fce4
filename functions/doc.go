// Package functions is the vocabulary that every other package of Catenary shares: it holds data and small
// interfaces, imports only the standard library, and starts nothing.
//
// A [Manifest] names a function: its typed ports ([Port], [Schema]), its artifact by [Digest], its limits and what it
// may use. A [Model] names weights in the same way. A [Ref] is a name pinned to one version of either.
//
// An [Item] is one message on an edge: a CBOR value and the bytes of the blobs that it names. A [Stream] is an edge:
// bounded in items and bytes, it makes a fast writer wait for a slow reader. [Source] and [Sink] are its two ends.
//
// An [Invoker] calls functions, here or on another node; a [Host] is what a function may reach while it runs. Failures
// are the sentinels of errors.go; [Failure] is their form on a wire.
//
// Caveats:
//   - An Item is read-only once it has been sent: several readers may share its bytes.
//   - A value stays encoded from step to step. Package functions/value decodes it where somebody has to read it.
//   - Catalogue and Blobs are interfaces here, since both a gateway and a node call them; internal/store has them.
package functions
