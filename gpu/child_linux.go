package gpu

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttr puts a child into a process group of its own, so that a Ctrl-C in the terminal reaches only us, and has
// the kernel end it when we end in any way.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// awaitExit returns true when our child has ended and waits to be reaped.
func awaitExit(pid int) bool {
	for {
		switch err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err {
		case nil:
			return true
		case unix.EINTR:
		default:
			return false
		}
	}
}
