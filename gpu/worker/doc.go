// Package worker is the child process that alone loads an engine. The serving process starts it as `catenary worker`
// and speaks gpuv1 with it over a unix socket, so that a fault in the engine's C code ends this process and no other.
//
// [Main] is the process: it opens the engine, serves, and ends with its lifeline. An [Engine] loads a [Model]; package
// llama's fits through a small adapter, and more engines can stand beside it.
//
// The generations of a model take turns (rota.go), first by caller, each of them in a slot that nobody else uses meanwhile (held.go), and
// only while its caller has room for more tokens (credit.go). The engine is called by one goroutine at a time for each
// model. Whoever waits does so as long as the own context lives. Every error crosses the wire as gpuv1.StatusOf writes it.
//
// Caveats:
//   - The session that a slot is kept for is the worker's own knowledge: whatever slot the parent names, a call of another
//     session finds nothing in it.
//   - Without an engine the process serves all the same: Describe says why, and Load fails with the remedy.
//   - The lifeline is standard input, a pipe that the parent holds open and never writes to. Its end means that the
//     parent is gone, however it went.
package worker
