// Command chat asks the model for every line that comes, and sends each token of the answer as a line.
package main

import (
	"context"
	"fmt"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/loadtest/guests/asking"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/guest"
)

// Line is what passes.
type Line struct {
	Text string `json:"text"`
	Do   string `json:"do"` // what goes wrong at it, and where
}

// maxTokens keeps a test short.
const maxTokens = 12

func init() { guest.Serve(sdk.NewFunc[sdk.Stream[Line], sdk.Stream[Line]]("chat"), chat) }

func chat(ctx context.Context, in sdk.Stream[Line]) (sdk.Stream[Line], error) {
	return asking.Each(ctx, in, func(v Line) (functions.Generation, error) {
		if v.Do == "guest fails" {
			return functions.Generation{}, fmt.Errorf("%q is bad", v.Text)
		}
		return asking.User(v.Text, maxTokens), nil
	}, func(token string) (Line, error) { return Line{Text: token}, nil }), nil
}

func main() {}
