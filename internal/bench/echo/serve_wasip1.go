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
	case "record":
		guest.Serve(sdk.NewFunc[Record, Record](name), whole)
	case "json":
		guest.Serve(sdk.NewFunc[[]byte, []byte](name), viaJSON)
	default:
		guest.Serve(sdk.NewFunc[[]byte, []byte](name), one)
	}
}

func main() {}
