// Package contract is the contract of the guest drip, shared with the tests that call it.
package contract

import "github.com/catenary-run/catenary/sdk"

// Ask says what to yield.
type Ask struct {
	// Count of numbers, from 0 on. Below zero there is no end to them; Stuck computes without an end and yields
	// nothing.
	Count int `json:"count"`
}

// Stuck is a count that never answers.
const Stuck = -2

// Endless is a count that is never reached.
const Endless = -1

// Drip yields numbers.
var Drip = sdk.NewFunc[Ask, sdk.Stream[int]]("drip")
