// Package contract is what the duplex guest and its tests share.
package contract

import "github.com/catenary-run/catenary/sdk"

// Behaviours, chosen by the first item.
const (
	Echo     = "echo"     // every item comes back, with its turn and its time
	Mix      = "mix"      // items of the input and tokens of the model llm come out as they come, while a ticker runs
	Gosched  = "gosched"  // a goroutine waits for the next item while another one never rests
	PingPong = "pingpong" // the same with two that keep each other busy
	Wait     = "wait"     // N goroutines wait for a token of the model llm, each of its own generation
	Counts   = "counts"   // the same with 1 to N goroutines, one count after the other
	Turn     = "turn"     // a generation of the turn N; what ended it
	Last     = "last"     // a generation with no turn of its own
	Park     = "park"     // waits for an item and returns the error
	Crash    = "crash"    // a goroutine panics while another waits for an item
	Deaf     = "deaf"     // hears that the call ends, and goes on
	Fill     = "fill"     // sends N items while a ticker runs; then the ticks until the last one was taken
	Leave    = "leave"    // returns while a goroutine waits for an item
	Left     = "left"     // what became of that goroutine
	Big      = "big"      // every item comes back with N generations begun and dropped in between, and the collector run
	TwoFiles = "twofiles" // two os.Files of one descriptor, one of them forgotten
	Blob     = "blob"     // makes a blob of each item by a goroutine of its own, and sends them in the order they come
	Held     = "held"     // which of the blobs that came so far can be read
	Random   = "random"   // what Mix does, until the input ends, with N generations at a time
)

// In is an item of the input.
type In struct {
	Do   string    `json:"do,omitempty"`
	N    int       `json:"n,omitempty"`
	Data []byte    `json:"data,omitempty"`
	Blob *sdk.Blob `json:"blob,omitempty"`
}

// Out is an item of the output.
type Out struct {
	What string    `json:"what,omitempty"`
	N    int       `json:"n,omitempty"`
	Data []byte    `json:"data,omitempty"`
	Blob *sdk.Blob `json:"blob,omitempty"`
}

// Func is the guest's contract.
var Func = sdk.NewFunc[sdk.Stream[In], sdk.Stream[Out]]("duplex")
