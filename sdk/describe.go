package sdk

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// DescribeEnv is the environment variable under which Main, guest.Serve and plugin.Serve print a Description as JSON
// and exit instead of serving: `catenary build` sets it to 1.
const DescribeEnv = "CATENARY_DESCRIBE"

// Description is what a program says of itself to the build.
type Description struct {
	Functions []FuncDescription  `json:"functions,omitempty"`
	Chains    []ChainDescription `json:"chains,omitempty"`
}

// FuncDescription is a function's contract.
type FuncDescription struct {
	Name string         `json:"name"`
	In   functions.Port `json:"in"`
	Out  functions.Port `json:"out"`
	// Turns is true if the function opens turns.
	Turns bool `json:"turns,omitempty"`
}

// ChainDescription is a chain and, since its spec leaves them out, the positions of its parts: "" for the chain, a
// step's name for the step, NAME/0 for the step's first case.
type ChainDescription struct {
	Spec      spec.Chain        `json:"spec"`
	Positions map[string]string `json:"positions,omitempty"`
	// Uses is what the chain takes its functions to be: it tells the types of those that can't describe themselves.
	Uses []FuncDescription `json:"uses,omitempty"`
}

// Describing reports whether the program runs to describe itself.
func Describing() bool { return os.Getenv(DescribeEnv) == "1" }

// Describe returns the function's contract.
func (f Func[I, O]) Describe() (FuncDescription, error) {
	in, out, err := f.Ports()
	if err == nil && f.turns && !(in.Stream && out.Stream) {
		err = fmt.Errorf("function %s: %w: only a function from a stream to a stream can open turns", f.name, functions.ErrInvalid)
	}
	return FuncDescription{Name: f.name, In: in, Out: out, Turns: f.turns}, err
}

// Print writes d as one line of JSON.
func (d Description) Print(w io.Writer) error {
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}
