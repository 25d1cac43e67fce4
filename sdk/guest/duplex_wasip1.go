package guest

import (
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sdk"
)

// ServeDuplex serves f by impl, as [Serve] does.
func ServeDuplex[I, O any](f sdk.Func[sdk.Stream[I], sdk.Stream[O]], impl sdk.Duplex[I, O]) {
	if handler != nil {
		panic("guest: Serve was called twice: a module serves one function")
	}
	handler = sdk.NewDuplexHandler(value.Codec{}, f, impl)
}
