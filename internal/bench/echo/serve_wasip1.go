package main

import (
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() {
	switch mode {
	case "stream":
		guest.Serve(sdk.NewFunc[sdk.Stream[[]byte], sdk.Stream[[]byte]](name), stream)
	case "blob":
		guest.Serve(sdk.NewFunc[sdk.Blob, sdk.Blob](name), blob)
	default:
		guest.Serve(sdk.NewFunc[[]byte, []byte](name), one)
	}
}

func main() {}
