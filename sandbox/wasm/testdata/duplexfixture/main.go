// Command duplexfixture is the conformance suite's full-duplex function as WASM.
package main

import (
	"github.com/catenary-run/catenary/sandbox/sandboxtest/fixture"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() { guest.ServeDuplex(fixture.Duplex, fixture.RunDuplex) }

func main() {}
