// Package plugin serves a function from a plugin process: native code that a node starts, holds by the kernel's means
// and calls over the protocol of docs/plugins.md.
//
// [Serve] is all that a plugin's main has to call. [OnStart] names work that has to be done before the first call, such
// as the loading of a model: the process reports that it is ready when that has ended, so that waking covers it.
//
// An implementation gets its blobs and its log from the context, through package sdk. A panic in it ends the call as a
// crash, and the node starts a fresh process for the next one.
//
// Caveats:
//   - Run with CATENARY_DESCRIBE=1 the program prints its contract and exits; OnStart is not called then.
//   - Standard output and standard error both go to the node's log, line by line.
//   - A plugin can't use models: sdk.Generate returns an error wrapping functions.ErrDenied.
//   - An implementation should end when its context does. One that goes on makes the node kill the process.
package plugin
