//go:build !wasip1

package main

import (
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/plugin"
)

func main() {
	switch mode {
	case "stream":
		plugin.Serve(sdk.NewFunc[sdk.Stream[[]byte], sdk.Stream[[]byte]](name), stream)
	case "blob":
		plugin.Serve(sdk.NewFunc[sdk.Blob, sdk.Blob](name), blob)
	case "record":
		plugin.Serve(sdk.NewFunc[Record, Record](name), whole)
	case "json":
		plugin.Serve(sdk.NewFunc[[]byte, []byte](name), viaJSON)
	default:
		plugin.Serve(sdk.NewFunc[[]byte, []byte](name), one)
	}
}
