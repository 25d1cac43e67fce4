// Package invokertest says what every functions.Invoker has to do: one suite for the pools of a process and for a node
// elsewhere.
//
// A test calls [Run] with a [Factory]; the suite brings the functions ([Setup]) and checks what comes back. [NewLocal]
// is the plainest Invoker that passes: it calls the functions in this process, for the tests of what calls an Invoker.
//
// Caveats:
//   - The suite waits for what has to happen, however long it takes; it never asserts a time.
//   - An Invoker may buffer between a function and its caller, but not without bound: see maxAhead.
package invokertest
