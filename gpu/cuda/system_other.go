//go:build !linux

package cuda

import (
	"fmt"
	"os"
	"runtime"

	"github.com/catenary-run/catenary/functions"
)

// threadID names the calling thread. No device is ever opened here, so that nobody asks.
func threadID() int { return 0 }

func newMemory(string, int64, bool) (*os.File, []byte, error) { return nil, nil, errSystem() }

func openLoaded(string) (uintptr, error) { return 0, errSystem() }

func importSlots(uintptr) (map[string][]uintptr, error) { return nil, errSystem() }

func setSlot(uintptr, uintptr) error { return errSystem() }

func errSystem() error {
	return fmt.Errorf("%w: CUDA is not for %s", functions.ErrNoDevice, runtime.GOOS)
}
