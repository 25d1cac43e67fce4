// Package contract is the contract of the guest counter, shared with the test that calls it.
package contract

import (
	"time"

	"github.com/catenary-run/catenary/sdk"
)

// In is ignored but for Sleep: how long the call sleeps.
type In struct {
	Sleep time.Duration `json:"sleep"`
}

// Out is what a call finds in its instance.
type Out struct {
	Calls    int           `json:"calls"`   // of this instance, this one included
	Starts   int           `json:"starts"`  // of the program
	Randoms  []uint64      `json:"randoms"` // one of each source
	MapOrder string        `json:"map_order"`
	Slept    time.Duration `json:"slept"` // by the guest's own clock
	Age      time.Duration `json:"age"`   // since its start, by its own clock
}

// Counter counts its calls.
var Counter = sdk.NewFunc[In, Out]("counter")
