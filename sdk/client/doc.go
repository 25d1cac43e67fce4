// Package client deploys chains to a server and runs them, over Connect.
//
// A [Client] is one server. [Run] runs a chain of package sdk, typed at both ends; its input and its output
// may be an sdk.Stream. [Start] begins a [Session]: items both ways, turns, and what is interrupted. The methods of Client
// do the same without types: [Client.RunJSON], [Client.Events], [Client.OpenStream], [Client.Post] with a raw body. A blob
// of an input is made with [Client.Audio] or [Client.Blob], a blob of an output is read with [Client.ReadBlob].
// [Client.Deploy] sends a [Bundle].
//
// Errors are functions.Failure: errors.Is answers as it does on the server, and errors.AsType[*sdk.StepError] finds the
// step that failed.
//
// Caveats:
//   - The client speaks HTTP/2 without TLS to an http:// URL; the reply of a chain streams only over HTTP/2.
//   - The bytes of blobs are held in memory, bounded, the oldest going first; results are fetched from the server again
//     while it has them. Of what a session yields it keeps nothing.
package client
