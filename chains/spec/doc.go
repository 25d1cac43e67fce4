// Package spec is a chain as data: the form that Go and YAML share, that is hashed, stored and sent.
//
// A [Chain] is a list of [Step] values and the name of the one whose output is the chain's. Steps refer to one another by
// name; the [Case] values of a switch hold steps of their own. [Chain.Hash] is the spec hash, over the canonical form
// without positions.
//
// Caveats:
//   - The package holds data only. Package chains checks and runs it. What sdk has to check as well is here: [Chain.Unread].
//   - Positions and places serve messages. They may come from anywhere, and are never trusted to be right.
package spec
