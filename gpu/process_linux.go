package gpu

import "syscall"

// childAttr puts the worker into a process group of its own, so that a Ctrl-C in the terminal reaches only us, and has
// the kernel end it when we end in any way.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
