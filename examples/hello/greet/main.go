// Command greet is a WASM function: it greets.
package main

import (
	"context"

	"github.com/catenary-run/catenary/examples/hello"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() {
	guest.Serve(hello.Greet, func(_ context.Context, who hello.Person) (string, error) {
		return "Good day, " + who.Name + ".", nil
	})
}

func main() {}
