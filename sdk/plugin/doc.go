// Package plugin serves a function from a plugin process: native code that a node starts, holds by the kernel's means
// and calls over the protocol of docs/plugins.md.
//
// [Serve] is all that a plugin's main has to call; [ServeDuplex] serves a function between two streams that reads and
// sends at a pace of its own. [OnStart] names work that has to be done before the first call, such
// as the loading of a model: the process reports that it is ready when that has ended, so that waking covers it.
//
// An implementation gets its blobs, its log and its turns from the context, through package sdk. A panic in it ends the
// call as a crash, and the node starts a fresh process for the next one. Where the input is a stream, the context ends
// with the connection's side of the call, and the node is told what was taken of the input, so that it sends no more than a
// few items ahead.
//
// Caveats:
//   - Run with CATENARY_DESCRIBE=1 the program prints its contract and exits; OnStart is not called then.
//   - Standard output and standard error both go to the node's log, line by line.
//   - A plugin can't use models: sdk.Generate returns an error wrapping functions.ErrDenied.
//   - A blob that came with an item of a stream can be read until functions.HeldItems later ones have come. A blob that was
//     made goes with the next item that refers to it; equal bytes that are made again are the same blob again.
//   - While nobody reads the output the node can't be told what was taken: it sends what it owes and waits.
//   - An implementation should end when its context does. One that goes on makes the node kill the process.
package plugin
