// Package sandbox is the border between what calls functions and what runs them.
//
// A [Driver] is mechanism only: Prepare makes an [Image] of one version of a function, once per node; Load makes it
// runnable as a [Code]; Code.New starts an [Instance], which serves one call at a time. Pools, queues, budgets and the
// question when to start and when to stop belong to package coldstart.
//
// Every driver passes the suite of sandboxtest.
//
// Caveats:
//   - Whoever gets a Code or an Instance closes it. Close of a Code comes after Close of its instances.
//   - A driver keeps its files in a folder of its own under the node's data folder; they are caches, made again on
//     need, and trusted like the binary itself.
package sandbox
