//go:build !wasip1

package guest

import "github.com/catenary-run/catenary/sdk"

// ServeDuplex serves f by impl, as [Serve] does.
func ServeDuplex[I, O any](f sdk.Func[sdk.Stream[I], sdk.Stream[O]], _ sdk.Duplex[I, O]) {
	Serve(f, nil)
}
