package abi

// Names of the ABI.
const (
	Module     = "catenary_v1"
	Call       = "catenary_call"
	Initialize = "_initialize"
	Start      = "_start"
	Memory     = "memory"

	// FuelModule and FuelYield name the import that the rewriter adds: it is called when an instance has used up a
	// slice of its fuel. A guest can't import it itself.
	FuelModule = "catenary_fuel"
	FuelYield  = "yield"
)

// Requests to open, each followed by its argument.
const (
	OpenModel = "model:"
	OpenBlob  = "blob:"
	NewBlob   = "newblob:"
)

// Results of item_recv below zero.
const (
	RecvAgain  = -1 // nothing there yet, on a descriptor set non-blocking
	RecvEnd    = -2 // no more items
	RecvFailed = -3 // cancelled, failed, or no such descriptor
)

// Errnos of WASI preview 1 that item_send and open return.
const (
	Success  = 0
	Access   = 2
	Again    = 6
	BadF     = 8
	Canceled = 11
	Inval    = 28
	IO       = 29
	NoEnt    = 44
	NoSys    = 52
	Pipe     = 64
	TooBig   = 1
)

// FirstFD is the number of the first descriptor that a call gets. Numbers are never used twice in an instance.
const FirstFD = 16
