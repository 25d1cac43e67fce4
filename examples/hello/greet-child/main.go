// Command greet-child is a WASM function: it greets a child.
package main

import (
	"context"

	"github.com/catenary-run/catenary/examples/hello"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() {
	guest.Serve(hello.GreetChild, func(_ context.Context, who hello.Person) (string, error) {
		return "Hi " + who.Name + "!", nil
	})
}

func main() {}
