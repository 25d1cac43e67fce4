// Package process runs a catenary server as a child process, for tests and benchmarks, and sees what is below it.
//
// [Start] returns a [Server] once it listens; its Stop waits until the process has ended. [Server.Descendants] are the
// [Process] values below it, those of any process [Descendants]. Linux only, where it looks into /proc.
package process

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Server is a catenary process that serves.
type Server struct {
	URL string
	Cmd *exec.Cmd

	mu     sync.Mutex // guards talk
	talk   bytes.Buffer
	exited chan struct{} // closed when the process is gone and its output read
}

// Start runs binary with the arguments, which begin with serve, and returns when the server says where it listens. It
// returns an error with what the server said if it ends before that.
func Start(binary string, args ...string) (*Server, error) {
	return StartCmd(exec.Command(binary, args...))
}

// StartCmd is [Start] with a command that may have an environment of its own.
func StartCmd(cmd *exec.Cmd) (*Server, error) {
	s := &Server{Cmd: cmd, exited: make(chan struct{})}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	listening := make(chan string, 1)
	go func() { // ends with the process; Stop waits for it
		defer close(s.exited)
		defer cmd.Wait()
		lines := bufio.NewReader(stderr)
		for {
			line, err := lines.ReadString('\n')
			s.mu.Lock()
			s.talk.WriteString(line)
			s.mu.Unlock()
			if url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on "); ok {
				select {
				case listening <- url:
				default:
				}
			}
			if err != nil {
				return
			}
		}
	}()
	select {
	case s.URL = <-listening:
		return s, nil
	case <-s.exited:
		return nil, fmt.Errorf("the server ended before it listened:\n%s", s.Talk())
	}
}

// Talk returns what the server wrote to stderr so far.
func (s *Server) Talk() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.talk.String()
}

// Exited is closed when the process has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Stop sends the signal, unless the process has ended, and waits for its end.
func (s *Server) Stop(sig syscall.Signal) error {
	select {
	case <-s.exited:
		return nil
	default:
	}
	if err := s.Cmd.Process.Signal(sig); err != nil {
		return err
	}
	<-s.exited
	return nil
}

// Process is one process, told from a later one with the same number by its start time.
type Process struct {
	PID     int
	Args    []string
	started string
}

// Alive reports whether the process is there, be it a dead one that nobody has waited for.
func (p Process) Alive() bool {
	now, ok := read(p.PID)
	return ok && now.started == p.started
}

// Descendants returns the processes below the server, dead ones that nobody has waited for included.
func (s *Server) Descendants() ([]Process, error) { return Descendants(s.Cmd.Process.Pid) }

// Descendants returns the processes below a process, dead ones that nobody has waited for included.
func Descendants(root int) ([]Process, error) {
	parents := map[int]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if fields, ok := stat(pid); ok {
				parents[pid], _ = strconv.Atoi(fields[1])
			}
		}
	}
	var found []Process
	for pid := range parents {
		for up := parents[pid]; up > 1; up = parents[up] {
			if up == root {
				if p, ok := read(pid); ok {
					found = append(found, p)
				}
				break
			}
		}
	}
	return found, nil
}

// stat returns the fields of /proc/PID/stat behind the command's name: state, parent, ...
func stat(pid int) ([]string, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, false
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	return fields, len(fields) > 19
}

func read(pid int) (Process, bool) {
	fields, ok := stat(pid)
	if !ok {
		return Process{}, false
	}
	args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return Process{PID: pid, Args: strings.Split(strings.TrimRight(string(args), "\x00"), "\x00"), started: fields[19]}, true
}

// RSS returns the bytes that the process has in memory, shared pages included.
func RSS(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}
