// Command bytes sends back the bytes that come.
package main

import (
	"context"

	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() {
	guest.Serve(sdk.NewFunc[sdk.Stream[[]byte], sdk.Stream[[]byte]]("bytes"), func(_ context.Context, in sdk.Stream[[]byte]) (sdk.Stream[[]byte], error) {
		return in, nil
	})
}

func main() {}
