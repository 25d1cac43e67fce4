// Command relay is a plugin that hands on the lines that come, unless one tells it to fail or to die.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/plugin"
)

// Line is what passes.
type Line struct {
	Text string `json:"text"`
	Do   string `json:"do"` // what goes wrong at it, and where
}

func main() { plugin.Serve(sdk.NewFunc[sdk.Stream[Line], sdk.Stream[Line]]("relay"), relay) }

func relay(_ context.Context, in sdk.Stream[Line]) (sdk.Stream[Line], error) {
	return func(yield func(Line, error) bool) {
		for v, err := range in {
			switch {
			case err == nil && v.Do == "plugin fails":
				err = fmt.Errorf("%q is bad", v.Text)
			case err == nil && v.Do == "plugin dies":
				os.Exit(3)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}, nil
}
