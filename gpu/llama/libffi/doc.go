// Package libffi makes a missing libffi an error that a person understands.
//
// The engine's binding loads libffi while the program starts, on Linux from the system, and panics without it: in every
// process of the binary, since Go initialises what is linked. Importing this package, for its side effect, has it looked
// for first: Go initialises packages whose imports are ready in the order of their paths, and this path comes before the
// binding's. TestOrder keeps that.
package libffi
