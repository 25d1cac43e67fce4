// Command call describes the chain hello to `catenary build`; otherwise it runs it on a server.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/catenary-run/catenary/examples/hello"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/client"
)

func main() {
	if sdk.Describing() {
		sdk.Main(hello.Hello)
		return
	}
	c, err := client.New("http://127.0.0.1:8372")
	if err != nil {
		log.Fatal(err)
	}
	greeting, err := client.Run(context.Background(), c, hello.Hello, hello.Person{Name: "Ada", Age: 36})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(greeting) // a string: the chain's type says so
}
