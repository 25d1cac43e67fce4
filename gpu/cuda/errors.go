package cuda

import (
	"fmt"

	"github.com/catenary-run/catenary/functions"
)

// ErrNoRoom is what errors wrap if the device's memory does not suffice. Nothing has changed then.
var ErrNoRoom = fmt.Errorf("%w on the device", functions.ErrMemoryLimit)

// Code is a result of the driver, a CUresult. Those that matter here have the same number in the runtime.
type Code int32

const (
	codeOK            Code = 0
	codeInvalidValue  Code = 1
	codeOutOfMemory   Code = 2
	codeNoDevice      Code = 100
	codeInvalidDevice Code = 101
	codeNotReady      Code = 600
)

// Error is a call of CUDA's that failed. After most of them the process can't use the device any more.
type Error struct {
	Call string // as the driver names it, such as cuMemMap
	Code Code
	Name string // of the code, such as CUDA_ERROR_INVALID_VALUE
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s (%d)", e.Call, e.Name, e.Code) }

// Unwrap returns [ErrNoRoom] and [functions.ErrNoDevice] for the codes that mean them.
func (e *Error) Unwrap() error {
	switch e.Code {
	case codeOutOfMemory:
		return ErrNoRoom
	case codeNoDevice, codeInvalidDevice:
		return functions.ErrNoDevice
	}
	return nil
}
