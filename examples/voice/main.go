// Command voice describes the chains of the voice example to `catenary build`.
package main

import (
	"github.com/catenary-run/catenary/examples/voice/chain"
	"github.com/catenary-run/catenary/sdk"
)

func main() { sdk.Main(chain.Voice, chain.Listen, chain.Talk) }
