// Package contract is the contracts of the guests drip and relay, shared with the tests that call them.
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

// Relay sends back numbers. It opens turns.
var Relay = sdk.NewFunc[sdk.Stream[int], sdk.Stream[int]]("relay").OpensTurns()

// RelayChain is relay alone.
var RelayChain = sdk.MustDefine("relay", func(s *sdk.Steps, in sdk.Val[sdk.Stream[int]]) sdk.Val[sdk.Stream[int]] {
	return sdk.Call(s, Relay, in)
})
