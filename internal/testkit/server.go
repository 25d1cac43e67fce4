package testkit

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Catenary builds the binary once for a test process and returns its path.
func Catenary(t testing.TB) string {
	t.Helper()
	buildOnce.Do(func() {
		dir, err := os.MkdirTemp("", "catenary-test-")
		if err != nil {
			t.Fatal(err)
		}
		catenaryPath = filepath.Join(dir, "catenary")
		GoBuild(t, "cmd/catenary", catenaryPath, nil)
	})
	return catenaryPath
}

var (
	buildOnce    sync.Once
	catenaryPath string
)

// RemoveCatenary removes what Catenary built: TestMain calls it last.
func RemoveCatenary() {
	if catenaryPath != "" {
		os.RemoveAll(filepath.Dir(catenaryPath))
	}
}

// Run runs the binary with args and returns what it wrote. It fails the test unless the exit code is want.
func Run(t testing.TB, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	cmd := exec.CommandContext(t.Context(), Catenary(t), args...)
	cmd.Dir = Root(t)
	cmd.Stdout, cmd.Stderr = &out, &talk
	err := cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != want {
		t.Fatalf("catenary %s: exit code %d (%v), want %d\n%s%s", strings.Join(args, " "), got, err, want, out.String(), talk.String())
	}
	return out.String(), talk.String()
}

// Server is a catenary process that serves.
type Server struct {
	URL string
	Cmd *exec.Cmd

	mu     sync.Mutex // guards talk
	talk   bytes.Buffer
	exited chan struct{} // closed when the process is gone and its output read
}

// Serve starts `catenary serve` on a free port with further flags and waits until it listens. The test's end stops it,
// and fails the test if it leaves a process behind.
func Serve(t testing.TB, flags ...string) *Server {
	t.Helper()
	s := &Server{exited: make(chan struct{})}
	s.Cmd = exec.Command(Catenary(t), append([]string{"serve", "--addr", "127.0.0.1:0"}, flags...)...)
	stderr, err := s.Cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listening := make(chan string, 1)
	go func() { // ends with the process; Stop and Kill wait for it
		defer close(s.exited)
		defer s.Cmd.Wait()
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
	t.Cleanup(func() {
		s.Stop(t)
		if t.Failed() {
			t.Logf("server's talk:\n%s", s.Talk())
		}
	})
	select {
	case s.URL = <-listening:
	case <-s.exited:
		t.Fatalf("the server ended before it listened:\n%s", s.Talk())
	case <-time.After(time.Minute): // not a claim on speed: a server that never says so must not hang the run
		t.Fatalf("the server did not say that it listens:\n%s", s.Talk())
	}
	return s
}

// Talk returns what the server wrote to stderr so far.
func (s *Server) Talk() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.talk.String()
}

// Stop ends the server by SIGTERM, waits for it, and fails the test if a descendant of it is left.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.end(t, syscall.SIGTERM)
}

// Kill ends the server by SIGKILL, waits for it, and fails the test if a descendant of it is left.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.end(t, syscall.SIGKILL)
}

func (s *Server) end(t testing.TB, sig syscall.Signal) {
	t.Helper()
	select {
	case <-s.exited:
		return
	default:
	}
	children := s.Descendants(t)
	if err := s.Cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	<-s.exited
	Eventually(t, "every child of the server to end", func() bool {
		for _, c := range children {
			if c.alive() {
				return false
			}
		}
		return true
	})
}

// Process is one process, told from a later one with the same number by its start time.
type Process struct {
	PID     int
	Args    []string
	started string
}

func (p Process) alive() bool {
	now, ok := readProcess(p.PID)
	return ok && now.started == p.started
}

// Kill sends SIGKILL to the process and waits until it is gone.
func (p Process) Kill(t testing.TB) {
	t.Helper()
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	Eventually(t, fmt.Sprintf("process %d to end", p.PID), func() bool { return !p.alive() })
}

// Descendants returns the processes below the server, dead ones that nobody has waited for included.
func (s *Server) Descendants(t testing.TB) []Process {
	t.Helper()
	parents := map[int]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
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
			if up == s.Cmd.Process.Pid {
				if p, ok := readProcess(pid); ok {
					found = append(found, p)
				}
				break
			}
		}
	}
	return found
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

func readProcess(pid int) (Process, bool) {
	fields, ok := stat(pid)
	if !ok {
		return Process{}, false
	}
	args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return Process{PID: pid, Args: strings.Split(strings.TrimRight(string(args), "\x00"), "\x00"), started: fields[19]}, true
}

// Eventually waits until ok holds. It gives up after a minute, which is no claim on speed.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// ReadAll reads r to its end, or fails the test.
func ReadAll(t testing.TB, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
