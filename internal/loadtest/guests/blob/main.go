// Command blob reads each blob that comes and sends a new one with the same bytes.
package main

import (
	"context"

	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() {
	guest.Serve(sdk.NewFunc[sdk.Stream[sdk.Blob], sdk.Stream[sdk.Blob]]("blob"), func(ctx context.Context, in sdk.Stream[sdk.Blob]) (sdk.Stream[sdk.Blob], error) {
		return func(yield func(sdk.Blob, error) bool) {
			for b, err := range in {
				var data []byte
				if err == nil {
					data, err = sdk.ReadBlob(ctx, b)
				}
				if err == nil {
					b, err = sdk.NewBlob(ctx, b.Type, data)
				}
				if !yield(b, err) {
					return
				}
			}
		}, nil
	})
}

func main() {}
