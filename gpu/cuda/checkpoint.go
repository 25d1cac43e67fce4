package cuda

import (
	"fmt"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// The arguments of the checkpoint calls are 64 bytes each, and what is reserved in them is zero.
type (
	lockArgs struct {
		timeoutMs uint32
		_         uint32
		_         [7]uint64
	}
	noArgs [8]uint64
)

// ProcessState is where a process is between running and checkpointed.
type ProcessState int32

const (
	Running      ProcessState = 0
	Locked       ProcessState = 1 // its calls of CUDA wait
	Checkpointed ProcessState = 2 // it has no device memory
	Failed       ProcessState = 3
)

// Checkpoints suspends the CUDA of whole processes, from outside and by their id. It is for foreign ones: what a
// process of ours holds is parked model by model, by a [Space].
//
// The way there is Lock, Checkpoint, and back Restore, Unlock. Each may take seconds. The process's host memory must have
// room for what it has on the device.
type Checkpoints struct{ driver *Driver }

// Checkpoints returns an error wrapping [functions.ErrNoDevice] if the driver has no such calls.
func (d *Driver) Checkpoints() (*Checkpoints, error) {
	fn := &d.fn
	if fn.processLock == nil || fn.processCheckpoint == nil || fn.processRestore == nil || fn.processUnlock == nil || fn.processState == nil {
		return nil, fmt.Errorf("%w: the CUDA driver can't checkpoint processes; install driver 570 or newer", functions.ErrNoDevice)
	}
	return &Checkpoints{driver: d}, nil
}

// Lock makes the process's calls of CUDA wait, once what it has handed in is done. It gives up after the timeout, which is
// at least a millisecond: without one a process that waits for itself would be waited for without end.
func (c *Checkpoints) Lock(pid int, timeout time.Duration) error {
	args := lockArgs{timeoutMs: uint32(max(1, timeout.Milliseconds()))}
	return c.driver.check("cuCheckpointProcessLock", c.driver.fn.processLock(int32(pid), &args))
}

// Checkpoint moves the device memory of a locked process to its host memory.
func (c *Checkpoints) Checkpoint(pid int) error {
	return c.driver.check("cuCheckpointProcessCheckpoint", c.driver.fn.processCheckpoint(int32(pid), &noArgs{}))
}

// Restore moves it back. The device must have room for all of it: a restore without room can't be repeated.
func (c *Checkpoints) Restore(pid int) error {
	return c.driver.check("cuCheckpointProcessRestore", c.driver.fn.processRestore(int32(pid), &noArgs{}))
}

// Unlock lets the process go on.
func (c *Checkpoints) Unlock(pid int) error {
	return c.driver.check("cuCheckpointProcessUnlock", c.driver.fn.processUnlock(int32(pid), &noArgs{}))
}

// State returns where the process is.
func (c *Checkpoints) State(pid int) (ProcessState, error) {
	var s int32
	err := c.driver.check("cuCheckpointProcessGetState", c.driver.fn.processState(int32(pid), &s))
	return ProcessState(s), err
}
