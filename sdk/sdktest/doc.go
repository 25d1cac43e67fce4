// Package sdktest runs chains in Go tests: the real planner, CEL and executor of package chains, with Go funcs in the
// place of artifacts.
//
// [Run] takes a chain, its input, and options: [Bind] implements a function, [Model] answers for a model, and [Blobs]
// holds the bytes that the input refers to and that the output left. [Check] only compiles.
//
// Caveats:
//   - Every function of the chain must be bound, those of branches that are not taken too.
//   - A func runs in the test's process: limits, sandboxes and snapshots are not there. Every function may use every
//     model that is given; which ones it declares is in catenary.yaml, and deploy checks that.
//   - A func that panics is a crash of that function, as it would be on a server; the stack is in the test's log.
package sdktest
