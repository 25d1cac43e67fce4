// Package sdk defines functions and chains in Go, with every edge typed.
//
// [NewFunc] makes the handle that an implementation and every chain share: a name and two Go types. [Define] runs a
// func once and records the [Chain] that it wires with [Call], [Each], [Last] and [Switch]; a [Val] is an edge, not a
// value, so wrong wiring does not compile. [Stream] as a function's input or output makes that side a stream. A function
// between two streams may open turns ([Func.OpensTurns]), and with [Steps.InterruptOnOnset] each interrupts the one before.
// [Blob] and [Audio] stand for bytes that travel beside the value. [Main] makes a program describe its chains to the build.
// An implementation reaches what it may use through its context: [ReadBlob], [NewBlob], [Generate], [Log].
//
// Package sdk/guest serves a function from WASM, sdk/plugin from a process, sdk/client deploys and invokes, and
// sdk/sdktest runs a chain in a Go test.
//
// Caveats:
//   - The package and what it imports use the standard library only: a guest links it.
//   - Define checks wiring, scopes and names. CEL and types are checked by sdktest and by Deploy, against manifests.
//   - Steps get no numbers: a name is what a step is known by for good, so a second step of one name is a fault. [As]
//     names a step, [SwitchAs] a switch.
package sdk
