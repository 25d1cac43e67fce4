//go:build !linux

package gpu

import "syscall"

// childAttr puts the worker into a process group of its own, so that a Ctrl-C in the terminal reaches only us. Here
// only the lifeline ends it when we end.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
