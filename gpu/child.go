package gpu

import (
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// child is one run of a command, in a process group of its own.
type child struct {
	cmd      *exec.Cmd
	out, err *lines
	done     chan struct{} // closed when it is reaped, and all is done that follows

	mu    sync.Mutex // guards ended
	ended bool       // its number may be another's
}

// newChild returns a child that has not been started.
func newChild(cmd *exec.Cmd, out, err *lines) *child {
	c := &child{cmd: cmd, out: out, err: err, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, err
	cmd.WaitDelay = time.Second // if something that it started holds its output open
	cmd.SysProcAttr = childAttr()
	return c
}

// start starts the command. Whether it starts or not, after is called when nothing of it is left, before done.
func (c *child) start(after func()) error {
	started := make(chan error, 1)
	go func() { // joined by done
		defer close(c.done)
		// The kernel sends the parent-death signal when the THREAD that started the child ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			if awaitExit(c.cmd.Process.Pid) { // what it leaves in its group, whose number is still its own, ends with it
				c.signal(syscall.SIGKILL)
				c.forget()
			}
			_ = c.cmd.Wait() // ProcessState says it better
			c.forget()
		}
		after()
	}()
	if err := <-started; err != nil {
		<-c.done
		return fmt.Errorf("start %s: %w", c.cmd.Path, err)
	}
	return nil
}

// signal sends sig to the group. It does nothing once the child has ended.
func (c *child) signal(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		_ = syscall.Kill(-c.cmd.Process.Pid, sig) // its only error is that nobody is there
	}
}

// forget makes signal do nothing any more.
func (c *child) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
}

// kill ends the group at once, without waiting.
func (c *child) kill() { c.signal(syscall.SIGKILL) }

// exit says how the child ended, with the last that it wrote to standard error.
func (c *child) exit() string {
	how := c.cmd.ProcessState.String()
	if last := c.err.last(); last != "" {
		how += ": " + last
	}
	return how
}

// killed reports whether a signal from outside ended it. A fault of its own is an exit status or another signal.
func (c *child) killed() bool {
	if c.cmd.ProcessState == nil {
		return false // it could not be waited for
	}
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && (status.Signal() == syscall.SIGKILL || status.Signal() == syscall.SIGTERM)
}
