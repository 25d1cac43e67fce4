// Command iterator is a guest that sends back what it receives, one item after the other.
package main

import (
	"context"

	"github.com/catenary-run/catenary/sandbox/wasm/testdata/duplex/contract"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() { guest.Serve(contract.Func, echo) }

func main() {}

func echo(_ context.Context, in sdk.Stream[contract.In]) (sdk.Stream[contract.Out], error) {
	return func(yield func(contract.Out, error) bool) {
		for v, err := range in {
			if !yield(contract.Out{N: v.N, Data: v.Data}, err) || err != nil {
				return
			}
		}
	}, nil
}
