package sdk

import (
	"fmt"
	"io"
	"os"
)

// AnyChain is a [Chain] of any types.
type AnyChain interface {
	Name() string
	Describe() (ChainDescription, error)
}

// Main is the whole main func of a program that holds chains: for the build it describes them and exits. Run by hand,
// it says how they are deployed and exits with 2.
func Main(chains ...AnyChain) { os.Exit(run(Describing(), chains, os.Stdout, os.Stderr)) }

func run(describing bool, chains []AnyChain, stdout, stderr io.Writer) int {
	if !describing {
		fmt.Fprintln(stderr, "This program describes chains for the build and does nothing by itself. Name its folder in a catenary.yaml:")
		for _, c := range chains {
			fmt.Fprintf(stderr, "  chains: [{name: %s, package: DIR}]\n", c.Name())
		}
		fmt.Fprintln(stderr, "Then run: catenary build && catenary deploy")
		return 2
	}
	var d Description
	for _, c := range chains {
		cd, err := c.Describe()
		if err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
		d.Chains = append(d.Chains, cd)
	}
	if err := d.Print(stdout); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}
