// Command helper is a plugin that counts its calls, and misbehaves on demand.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/catenary-run/catenary/cmd/catenary/testdata/contract"
	"github.com/catenary-run/catenary/sdk/plugin"
)

func main() {
	plugin.Serve(contract.Helper, serve, plugin.OnStart(start))
}

// start does what the manifest's args say.
func start() error {
	switch {
	case slices.Contains(os.Args, "exit-at-start"):
		fmt.Fprintln(os.Stderr, "the helper leaves at once")
		os.Exit(3)
	case slices.Contains(os.Args, "hang-at-start"):
		for {
			time.Sleep(time.Hour)
		}
	}
	return nil
}

var count int // calls come one at a time

func serve(ctx context.Context, job contract.Job) (contract.Report, error) {
	switch job.Do {
	case "exit":
		os.Exit(4)
	case "panic":
		panic("the helper panics")
	case "wait": // until there is a file, or nobody wants the answer any more
		for {
			if _, err := os.Stat(job.Path); job.Path != "" && err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return contract.Report{}, ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	count++
	return contract.Report{Count: count, Draw: rand.Text()}, nil
}
