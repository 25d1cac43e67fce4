// Command drip is a guest that yields as many numbers as it is asked for, and can be without end.
package main

import (
	"context"

	"github.com/catenary-run/catenary/internal/rolestest/testdata/contract"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() { guest.Serve(contract.Drip, drip) }

func main() {}

func drip(_ context.Context, ask contract.Ask) (sdk.Stream[int], error) {
	for ask.Count == contract.Stuck {
	}
	return func(yield func(int, error) bool) {
		for i := 0; i < ask.Count || ask.Count == contract.Endless; i++ {
			if !yield(i, nil) {
				return
			}
		}
	}, nil
}
