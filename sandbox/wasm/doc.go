// Package wasm is the sandbox driver for WebAssembly: functions that speak catenary_v1 (docs/abi.md) and unmodified WASI
// preview 1 commands, run by wazero in this process.
//
// [New] makes a [Driver]. Its Prepare rewrites the module (package rewrite), compiles it, starts it, warms it with the
// manifest's sample and captures its memory and globals (package image), by default in a process of its own at low
// priority, which [PrepareMain] is. Load maps code and image; each instance is a copy-on-write view of the image, with
// its random numbers reseeded. It serves a call, and Reset puts it back to the image for the next one: memory, globals
// and random states. What can't be captured starts anew for each instance.
//
// A guest reaches what its imports give it and nothing else: the host modules here are catenary_v1, our own WASI preview
// 1, and the yield that the rewriter adds. A command's files live in package scratch, in memory.
//
// A call is one goroutine, the one that runs the guest, and a host function that waits does so there. A guest that waits
// for several things at once sets their descriptors non-blocking and waits in poll_oneoff: then the call has a goroutine
// for each, which it joins before it ends. See async.
//
// Limits: memory is refused beyond limits.mem; the yield and every blocking import look at the call's context, which
// carries limits.time; a guest that polls is told first. Items, blobs, standard output and the scratch folder share
// limits.out, which of a stream is for one item.
//
// Caveats:
//   - An instance is spent after a call that trapped or took more memory from the host than its image has. Go commands and
//     those of C that allocate do the latter in every call.
//   - After a Reset the memory has the image's bytes, but which pages are in place already depends on earlier calls: a
//     guest that times its accesses can learn that much about them.
//   - The driver's folder holds native code that is executed as it is: it is as trusted as the binary, mode 0700.
//   - Guests share this process: a fault of wazero, or Spectre, crosses tenants.
//   - memory.fill and its like are one step; they end late, not never.
//   - Whatever a guest reads at its start is in its image, and its values drawn at random by then are the same in all
//     instances.
//   - The package encodes requests, tokens and blob references, and reads the inputs of commands: for that it imports
//     functions/value and functions/wav, which the other drivers do not.
package wasm
