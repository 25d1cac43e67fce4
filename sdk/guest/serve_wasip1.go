package guest

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
	"github.com/catenary-run/catenary/sdk"
)

// served serves one call of the function that the module serves; set once, by Serve or ServeDuplex.
var served func(in, out int32) error

func serve(call func(in, out int32) error) {
	if served != nil {
		panic("guest: a function is served already: a module serves one")
	}
	served = call
}

// Serve serves f by impl. It is called once, from an init func of the program.
func Serve[I, O any](f sdk.Func[I, O], impl func(context.Context, I) (O, error)) {
	handle := sdk.NewHandler(value.Codec{}, f, impl)
	serve(func(in, out int32) error {
		e := &edges{in: in, out: out}
		return handle(sdk.WithEnv(context.Background(), env{}), e, e)
	})
}

// call is the ABI's catenary_call.
//
//go:wasmexport catenary_call
func call(in, out int32) int32 {
	if served == nil {
		return fail(errors.New("the program does not call guest.Serve in an init func"))
	}
	if err := served(in, out); err != nil {
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

const (
	// headroom is memory that the image holds ready: to grow is dear, and most calls need little.
	headroom = 4 << 20
	// gcPercent lets the heap grow to nine times what is live, and to 32 MiB at least, before the collector runs:
	// most calls end before that, and then all of the instance is thrown away at once.
	gcPercent = 800
)

// ballast keeps prepare's allocation from being left out.
var ballast []byte

// prepare is the ABI's catenary_prepare: it leaves a heap that is clean and has room.
//
//go:wasmexport catenary_prepare
func prepare(memBytes int64) {
	ballast = make([]byte, headroom)
	ballast = nil
	runtime.GC()
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memBytes / 4 * 3) // near the limit, collect rather than fail
}
