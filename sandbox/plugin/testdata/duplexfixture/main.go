// Command duplexfixture is the conformance suite's full-duplex function as a plugin.
package main

import (
	"github.com/catenary-run/catenary/sandbox/sandboxtest/fixture"
	"github.com/catenary-run/catenary/sdk/plugin"
)

func main() { plugin.ServeDuplex(fixture.Duplex, fixture.RunDuplex) }
