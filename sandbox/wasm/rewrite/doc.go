// Package rewrite changes a WebAssembly module so that it can be stopped while it runs and captured once it has
// started. It is a pure function over bytes: it imports no engine and starts nothing.
//
// [Rewrite] does three things in one pass. It adds fuel: a counter in a new global, taken down by one at every loop
// header and every function entry (once, where a function begins with a loop); at zero the code calls a new import,
// abi.FuelModule.FuelYield of type () -> (), and starts the next slice. It exports every mutable global under a reserved name, so that a host can read and set them
// all. And if memory and globals are all of the module's state, it takes out what would run again in every new
// instance: the bytes of active data segments (they are in [Module].Data) and the start section (its function is
// exported as [Module].Start). Where they are not all, [Module].Uncapturable says why, and both stay in place.
//
// The new import stands behind the module's own function imports. So the numbers of all functions that the module
// defines go up by one: in code, elements, exports, start, initial values and names. Types, tables, globals, memories,
// data and elements keep their numbers.
//
// Caveats:
//   - The result is as valid as the input was: Rewrite reads the structure, and the engine checks types.
//   - The yield may panic. The counter is then at or below zero, and the next check calls the yield again; the driver
//     sets the fuel global together with the others when it restores an instance.
//   - memory.fill, memory.copy and their like are one step, however long: the memory cap bounds them.
//   - Tail calls, extended constants, exception handling and typed function references pass through, for an engine
//     that has them switched on. Threads, 64-bit memories, garbage collection and components are refused.
//   - Custom sections other than the names of module and functions are dropped: no engine of ours reads them, and
//     debug sections would point to the wrong places.
package rewrite
