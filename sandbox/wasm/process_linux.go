package wasm

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// canMap is whether images can be mapped copy-on-write here.
const canMap = runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64"

// niceness is that of a process that prepares: whoever waits for an answer comes first.
const niceness = 10

// lowerPriority makes the process give way to others. Linux keeps the priority by thread, so each gets it; new ones
// have that of the thread that starts them.
func lowerPriority() {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return // no /proc: it runs at the priority that it has
	}
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, niceness) // a thread may be gone by now
		}
	}
}

// runBound runs cmd, which the kernel kills when this process dies. The signal is bound to the thread that starts it, so
// that one waits for it.
func runBound(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return cmd.Run()
}
