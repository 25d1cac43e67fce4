//go:build !linux

package gpu

import "syscall"

// childAttr puts a child into a process group of its own, so that a Ctrl-C in the terminal reaches only us. Here
// only a lifeline ends it when we end.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitExit returns false: here nobody can wait for a child and leave it to be reaped.
func awaitExit(int) bool { return false }
