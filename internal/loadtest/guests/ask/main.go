// Command ask asks the model for every number that comes, and sends each token of the answer as a number.
package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/loadtest/guests/asking"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/guest"
)

// Number is what passes.
type Number struct {
	N    int  `json:"n"`
	Fail bool `json:"fail"` // the function fails at it
}

func init() { guest.Serve(sdk.NewFunc[sdk.Stream[Number], sdk.Stream[Number]]("ask"), ask) }

func ask(ctx context.Context, in sdk.Stream[Number]) (sdk.Stream[Number], error) {
	return asking.Each(ctx, in, func(v Number) (functions.Generation, error) {
		if v.Fail {
			return functions.Generation{}, fmt.Errorf("%d is bad", v.N)
		}
		return asking.User(strconv.Itoa(v.N), 0), nil
	}, func(token string) (Number, error) {
		n, err := strconv.Atoi(token)
		return Number{N: n}, err
	}), nil
}

func main() {}
