// Command ask asks the model for every number that comes, and sends each token of the answer as a number.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/catenary-run/catenary/functions"
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
	return func(yield func(Number, error) bool) {
		for v, err := range in {
			if err == nil && v.Fail {
				err = fmt.Errorf("%d is bad", v.N)
			}
			if err == nil {
				err = answer(ctx, v.N, yield)
			}
			switch {
			case errors.Is(err, sdk.ErrInterrupted): // the next one may be of a turn that is not over
			case errors.Is(err, errStopped):
				return
			case err != nil:
				yield(Number{}, err)
				return
			}
		}
	}, nil
}

var errStopped = errors.New("the reader has stopped")

func answer(ctx context.Context, n int, yield func(Number, error) bool) error {
	tokens, err := sdk.Generate(ctx, "llm", functions.Generation{Messages: []functions.Message{{Role: "user", Content: strconv.Itoa(n)}}})
	if err != nil {
		return err
	}
	defer tokens.Close()
	for {
		t, err := tokens.Recv(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		token, err := strconv.Atoi(t.Text)
		if err != nil {
			return err
		}
		if !yield(Number{N: token}, nil) {
			return errStopped
		}
	}
}

func main() {}
