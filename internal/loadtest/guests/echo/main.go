// Command echo sends back the numbers that come.
package main

import (
	"context"

	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/guest"
)

// Number is what passes.
type Number struct {
	N    int  `json:"n"`
	Fail bool `json:"fail"`
}

func init() {
	guest.Serve(sdk.NewFunc[sdk.Stream[Number], sdk.Stream[Number]]("echo"), func(_ context.Context, in sdk.Stream[Number]) (sdk.Stream[Number], error) {
		return in, nil
	})
}

func main() {}
