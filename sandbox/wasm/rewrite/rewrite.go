package rewrite

import (
	"fmt"

	"github.com/catenary-run/catenary/functions"
)

// DefaultFuelSlice is the number of loop iterations and function entries between two yields: about 0.1 ms of a tight
// loop. It bounds how late a deadline is seen and how long the host's garbage collector waits for a guest.
const DefaultFuelSlice = 65536

// Options are the choices of a rewrite.
type Options struct {
	FuelSlice int32 // loop iterations and function entries between two yields; DefaultFuelSlice if it isn't positive
}

// Kinds of imports and exports.
const (
	KindFunc   byte = 0
	KindTable  byte = 1
	KindMemory byte = 2
	KindGlobal byte = 3
	KindTag    byte = 4
)

// Value types that a captured global can have.
const (
	TypeI32 byte = 0x7f
	TypeI64 byte = 0x7e
	TypeF32 byte = 0x7d
	TypeF64 byte = 0x7c
)

// Segment is what an active data segment puts into the memory before the module starts. Bytes are part of the input.
type Segment struct {
	Offset uint32
	Bytes  []byte
}

// Global is a mutable global of the module, exported under a reserved name.
type Global struct {
	Export string
	Type   byte // TypeI32 to TypeF64
}

// Import is an import of the original module.
type Import struct {
	Module, Name string
	Kind         byte
}

// Module is a module after its rewriting, and what a driver has to know of it.
type Module struct {
	// Wasm is the instrumented module. If Uncapturable is empty, its active data segments hold no bytes and it has no
	// start section.
	Wasm []byte

	Command bool            // it exports the function _start
	Reactor bool            // it exports the function _initialize
	Exports map[string]byte // kinds of the original exports, by name
	Imports []Import        // the original imports, in order

	Data    []Segment // what the host writes before the start, in order; nil if Uncapturable
	Globals []Global  // every mutable global of the module that is a number, and Fuel
	Fuel    Global
	Start   string // the export to call first, once Data is written; empty if there is none or if Uncapturable

	MemMinPages uint32 // of 64 KiB
	MemMaxPages uint32 // the declared maximum, else 65536

	// Uncapturable says in words for people why an image of memory and globals would not be all of the module's
	// state. It is empty if it is.
	Uncapturable string
}

// Rewrite returns the module with fuel, ready to be captured if that is possible. It keeps no more of the input than
// Module.Data. It returns an error wrapping [functions.ErrInvalid], with what is wrong at which byte, for a module that
// can't run here.
func Rewrite(wasm []byte, opt Options) (*Module, error) {
	return nil, fmt.Errorf("%w", functions.ErrInvalid)
}
