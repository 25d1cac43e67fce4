package abi

// Names of the ABI.
const (
	Module     = "catenary_v1"
	Call       = "catenary_call"
	Prepare    = "catenary_prepare"
	Initialize = "_initialize"
	Start      = "_start"
	Memory     = "memory"

	// FuelModule and FuelYield name the import that the rewriter adds: it is called when an instance has used up a
	// slice of its fuel. A guest can't import it itself.
	FuelModule = "catenary_fuel"
	FuelYield  = "yield"
)

// Results of catenary_call.
const (
	CallOK      = 0
	CallFailed  = 1 // the function failed
	CallInvalid = 2 // the function can't take this input
	CallHost    = 3 // the function failed since the host did: what open, item_send or item_recv answered last
)

// Requests to open, each followed by its argument.
const (
	OpenModel = "model:"
	OpenBlob  = "blob:"
	NewBlob   = "newblob:"
	OpenTurns = "turns:" // takes no argument
)

// Results of item_recv below zero.
const (
	RecvAgain  = -1 // nothing there yet, on a descriptor set non-blocking
	RecvEnd    = -2 // no more items
	RecvFailed = -3 // failed, or no such descriptor: item_info says why
)

// NoDeadline is what deadline returns for a call that may go on for ever.
const NoDeadline = -1

// Errnos of WASI preview 1 that item_send, item_info, item_mark and open return.
const (
	Success  = 0
	TooBig   = 1
	Access   = 2
	Again    = 6 // no room yet, on a descriptor set non-blocking
	BadF     = 8
	Busy     = 10 // not now: too many wait, or what is asked is away
	Canceled = 11 // the call is ending
	Intr     = 27 // the turn is over
	Inval    = 28
	IO       = 29
	MFile    = 33
	NoEnt    = 44
	NoSys    = 52
	Pipe     = 64
)

// Levels of log.
const (
	LevelDebug = -4
	LevelInfo  = 0
	LevelWarn  = 4
	LevelError = 8
)

// FirstFD is the number of the first descriptor that a call gets. Numbers are never used twice in an instance.
const FirstFD = 16

// InfoBytes is the size of what item_info writes: seq u64, turn u64 and time i64, in nanoseconds since 1970, 0 if nobody
// said.
const InfoBytes = 24

// Bounds of what a guest may ask for.
const (
	MaxDescriptors  = 64       // open at once, in one call: Go's runtime crashes when 128 goroutines begin to wait at once
	MaxOpenRequest  = 1 << 10  // bytes of a request to open
	MaxModelRequest = 16 << 20 // bytes of a generation request
)
