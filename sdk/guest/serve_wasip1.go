package guest

import (
	"context"
	"errors"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
	"github.com/catenary-run/catenary/sdk"
)

// function is what a module serves.
type function struct {
	call   func(in, out int32) error
	duplex bool // its calls have goroutines and last long
}

// served is set once, by Serve or ServeDuplex.
var served *function

func serve(f function) {
	if served != nil {
		panic("guest: a function is served already: a module serves one")
	}
	served = &f
}

// Serve serves f by impl. It is called once, from an init func of the program.
func Serve[I, O any](f sdk.Func[I, O], impl func(context.Context, I) (O, error)) {
	handle := sdk.NewHandler(value.Codec{}, f, impl)
	serve(function{call: func(in, out int32) error {
		e := &edges{in: in, out: out}
		return handle(sdk.WithEnv(callContext{context.Background()}, env{}), e, e)
	}})
}

// call is the ABI's catenary_call.
//
//go:wasmexport catenary_call
func call(in, out int32) int32 {
	if served == nil {
		return fail(errors.New("the program does not call guest.Serve in an init func"))
	}
	if err := served.call(in, out); err != nil {
		return fail(err)
	}
	return abi.CallOK
}

func fail(err error) int32 {
	text := err.Error()
	hostFail(ptr(text), uint32(len(text)))
	switch _, fromHost := errors.AsType[*hostError](err); {
	case fromHost:
		return abi.CallHost
	case errors.Is(err, functions.ErrInvalid):
		return abi.CallInvalid
	}
	return abi.CallFailed
}
