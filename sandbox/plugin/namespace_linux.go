package plugin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// findNamespace returns the flags with which a plugin gets a PID namespace, in which it is process 1: the kernel ends
// all of a namespace with its process 1. It tries first what needs a privilege, then what needs a user namespace, and
// returns why neither can be had. Dir is a folder in which nothing has the name that it takes.
func findNamespace(dir string) (clone uint, err error) {
	// The process learns its id and its parent from /proc, which must count as we do.
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return 0, fmt.Errorf("/proc is not that of this PID namespace: /proc/self is %q, %v", self, err)
	}
	tries := []uint{unix.CLONE_NEWPID}
	if os.Geteuid() != 0 {
		// Root in a user namespace would need the users of plugins in it.
		tries = append(tries, unix.CLONE_NEWPID|unix.CLONE_NEWUSER)
	}
	for _, clone := range tries {
		// What is executed does not exist. So nothing runs, and the error tells how far it came.
		_, err = os.StartProcess(filepath.Join(dir, "nothing"), []string{"nothing"}, &os.ProcAttr{Sys: attributes(clone)})
		if errors.Is(err, unix.ENOENT) {
			return clone, nil
		}
	}
	return 0, fmt.Errorf("clone with a new PID namespace: %w", err)
}

// attributes returns how a process is started with flags of clone. It leads a session of its own, so that its process
// group can be killed.
func attributes(clone uint) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: uintptr(clone)}
	if clone&unix.CLONE_NEWUSER != 0 {
		// It stays who it is, and there is nobody else.
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

// ids returns the ids of this process and of its parent as the node sees them.
func (c confinement) ids() (pid, ppid int, err error) {
	if c.clone&unix.CLONE_NEWPID == 0 {
		return os.Getpid(), os.Getppid(), nil
	}
	// In the namespace they are 1 and 0. The file system of the node's own processes counts as the node does, and the
	// namespace has no other.
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		switch name, rest, _ := strings.Cut(line, ":"); name {
		case "Tgid":
			pid, err = strconv.Atoi(strings.TrimSpace(rest))
		case "PPid":
			ppid, err = strconv.Atoi(strings.TrimSpace(rest))
		}
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/self/status: %w", err)
		}
	}
	return pid, ppid, nil
}
