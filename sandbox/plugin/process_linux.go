package plugin

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is one plugin process, from its start until nothing of it is left.
type process struct {
	pid    int
	user   int // its own user id; 0 if it shares one
	stdout *os.File
	logs   *logs
	done   chan struct{} // closed when it is reaped, its descendants are killed and its outputs are read

	mu     sync.Mutex // guards the fields below
	reaped bool       // the process id may belong to somebody else
	state  *os.ProcessState
}

// startProcess starts argv with env and nothing else.
func startProcess(argv, env []string, c confinement, idle lineFunc) (*process, error) {
	stdout, stdoutW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdoutW.Close()
	stderr, stderrW, err := os.Pipe()
	if err != nil {
		stdout.Close()
		return nil, err
	}
	defer stderrW.Close()
	p := &process{stdout: stdout, done: make(chan struct{})}
	if p.logs, err = newLogs(stderr, idle); err != nil {
		stdout.Close()
		stderr.Close()
		return nil, err
	}
	cmd := exec.Command(argv[0], append(argv[1:len(argv):len(argv)], c.argv()...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, stdoutW, stderrW
	cmd.SysProcAttr = attributes(c.clone)
	started := make(chan error)
	go p.live(cmd, c, started) // ends with the process; done is its join
	if err := <-started; err != nil {
		<-p.done
		return nil, err
	}
	return p, nil
}

// live starts the process and stays with it to its end, on one thread: the parent-death signal is tied to the thread
// that started the process, and a thread must not end before it.
func (p *process) live(cmd *exec.Cmd, c confinement, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	err := cmd.Start()
	if err == nil {
		p.pid = cmd.Process.Pid
		if c.userBase != 0 && !c.oneUser {
			p.user = int(c.userBase) + p.pid
		}
	}
	started <- err
	var pump sync.WaitGroup
	if err == nil {
		pump.Go(p.logs.run)
		waitExit(p.pid)
		// Not reaped yet: so long the process id, and the user made from it, are nobody else's.
		_ = unix.Kill(-p.pid, unix.SIGKILL) // ESRCH: the group is empty
		if c.clone&unix.CLONE_NEWPID == 0 {
			sweep(p.user)
		} // else the kernel has ended the namespace already, and told of the end after that
		p.mu.Lock()
		p.reaped = true
		p.mu.Unlock()
		_ = cmd.Wait() // its error is the exit state
		p.logs.drain()
	}
	p.stdout.Close()
	p.logs.file.Close()
	pump.Wait()
	p.mu.Lock()
	p.state = cmd.ProcessState
	p.mu.Unlock()
}

// waitExit returns when the process has ended, and leaves it to be reaped.
func waitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// kill ends the process and its group. What it was doing ends soon after; done tells when.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = unix.Kill(-p.pid, unix.SIGKILL) // ESRCH: it has ended
	}
}

// exit returns how the process ended. It must be called after done.
func (p *process) exit() (text string, bySignal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		return "unknown", 0
	}
	if ws, ok := p.state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return p.state.String(), ws.Signal()
	}
	return p.state.String(), 0
}

// sweepRounds bounds sweep: each round kills all that there is, so that only a process that forks faster than that is
// left, and the limit of tasks bounds that too.
const sweepRounds = 200

// sweep kills the processes of a user until there are none: descendants that left the process group. User 0 is none.
func sweep(user int) {
	if user == 0 {
		return
	}
	for range sweepRounds {
		pids := processesOf(user)
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // ESRCH: it has ended
		}
		time.Sleep(time.Millisecond) // until the kernel has ended them
	}
}

// processesOf returns the processes of a user that still run.
func processesOf(user int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil && runsAs(string(status), user) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// runsAs reports whether a status file is that of a live process whose real user is user.
func runsAs(status string, user int) bool {
	uid, alive := -1, true
	for line := range strings.Lines(status) {
		switch name, rest, _ := strings.Cut(line, ":"); name {
		case "State":
			state := strings.TrimSpace(rest)
			alive = !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
		case "Uid":
			if f := strings.Fields(rest); len(f) > 0 {
				uid, _ = strconv.Atoi(f[0])
			}
		}
	}
	return alive && uid == user
}
