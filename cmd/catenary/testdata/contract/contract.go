// Package contract is what the fixture functions and the tests of the command agree on.
package contract

import "github.com/catenary-run/catenary/sdk"

// Job says what one call is to do.
type Job struct {
	Do string `json:"do"`
	// Path is a file that the call waits for, if it is to wait.
	Path string `json:"path,omitempty"`
}

// Report is what came of it.
type Report struct {
	Count int    `json:"count"` // which call this is of its instance, from 1
	Draw  string `json:"draw"`  // a random number
}

// Guest is served from WASM.
var Guest = sdk.NewFunc[Job, Report]("guest")

// Helper is served by a plugin.
var Helper = sdk.NewFunc[Job, Report]("helper")

// StartLine is what the guest logs when it starts.
const StartLine = "the guest has started"
