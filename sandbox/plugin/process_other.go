//go:build !linux

package plugin

import (
	"os"
	"syscall"
)

// process is what a plugin process is on Linux; here there is none.
type process struct {
	pid    int
	stdout *os.File
	logs   *logs
	done   chan struct{}
}

func startProcess([]string, []string, confinement, lineFunc) (*process, error) {
	return nil, errLinuxOnly
}

func (p *process) kill() {}

func (p *process) exit() (string, syscall.Signal) { return "", 0 }

func (p *process) memory(int64) int64 { return 0 }

func findNamespace(string) (uint, error) { return 0, errLinuxOnly }

func childrenKnown() error { return errLinuxOnly }
