// Package coldstart owns all pools of function instances on a node: when they start, when they stop, who waits.
//
// [Pools] is a functions.Invoker. A call takes a ready instance of its version, or waits in a bounded queue while one
// is started. [Pools.Run] is the loop that starts and stops; New starts nothing, and without Run calls only wait.
// [Pools.Wake] starts everything that a run can reach side by side. [Pools.Prepare] makes the images at deploy.
// [Config] bounds it all, [Deps] names what it needs, [Pools.Status] tells how it stands.
//
// A version is hot while it has an instance, parked while only its code is in memory, cold otherwise. It cools when it
// has not been used for its idle time: of a WASM function the instances go and the code stays; of a plugin the process
// goes, and its code with it. While a version is hot, spare instances are ready beyond those in use: one that has served
// is reset, or a fresh one is started in its place, when its caller has gone on. The code that a deploy brings into memory stays if the deploy passes, and goes if it fails and nobody else
// wants it.
//
// Above the memory budget what nobody uses goes, the least recently used first, be it a hot instance or parked code: a
// version that loses its last instance so counts as idle until it is used again.
//
// A call with a stream as its input holds its instance until the stream ends. It is a session of the models that it asks:
// what they keep for it goes with it. It may last, so only an idle limit ends it, if its function has one.
//
// Deciding is pure: decide.go says, from what there is and what time it is, what to start and stop, and evict.go what has
// to go for want of memory. The loop observes, asks, and has tasks do it. One mutex (Pools.mu) guards all state of all
// pools; drivers are never called under it.
//
// Caveats:
//   - Images are made here on first need too: deploy is on one node, calls may be on any.
//   - The memory budget bounds what is kept, not what is in use: busy instances are never evicted. Their own limit is
//     in their manifest, and their count is bounded by Config.
//   - An instance that is being closed no longer counts: its memory may be there a moment longer.
//   - A start that fails fails everybody who waits if nothing is left that could serve them. The next one is tried at
//     once; after that the pauses double up to 5 s, and calls that come in a pause wait for its end.
package coldstart
