// Command guest is the WASM function of the benchmarks. The linker sets its name and what its start-up does.
package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/guest"
)

// Set by -ldflags=-X.
var (
	name    = "guest"
	sleepMS = "0" // start-up waits so long on the clock
	entries = "0" // start-up builds a table of so many entries
)

// In and Out are the function's types.
type In struct {
	N int `json:"n"`
}

// Out returns the input, so that guests can stand in a row.
type Out struct {
	N       int `json:"n"`
	Entries int `json:"entries"`
}

var table = map[string]int{}

func init() {
	ms, _ := strconv.Atoi(sleepMS)
	time.Sleep(time.Duration(ms) * time.Millisecond)
	n, _ := strconv.Atoi(entries)
	for i := range n {
		table[fmt.Sprintf("key-%07d", i*7919%1000003)] = i
	}
	guest.Serve(sdk.NewFunc[In, Out](name), func(_ context.Context, in In) (Out, error) {
		return Out{N: in.N + 1, Entries: len(table)}, nil
	})
}

func main() {}
