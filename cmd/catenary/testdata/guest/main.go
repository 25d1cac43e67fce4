// Command guest is a WASM function that counts its calls in a global, and misbehaves on demand.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github.com/catenary-run/catenary/cmd/catenary/testdata/contract"
	"github.com/catenary-run/catenary/sdk/guest"
)

var (
	count   int
	sink    [][]byte
	nothing *int
)

func init() {
	fmt.Fprintln(os.Stderr, contract.StartLine)
	guest.Serve(contract.Guest, serve)
}

func main() {}

func serve(_ context.Context, job contract.Job) (contract.Report, error) {
	switch job.Do {
	case "trap":
		return contract.Report{Count: *nothing}, nil
	case "loop":
		for i := 0; ; i++ {
			count = i
		}
	case "grow":
		for {
			page := make([]byte, 1<<20)
			page[0] = 1
			sink = append(sink, page)
		}
	case "fail":
		return contract.Report{}, errors.New("the guest refuses this job")
	}
	count++
	return contract.Report{Count: count, Draw: rand.Text()}, nil
}
