package testkit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/catenary-run/catenary/internal/process"
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
	*process.Server
	killed bool // by Kill
}

// Process is a process below a server.
type Process struct{ process.Process }

// Serve starts `catenary serve` on a free port with further flags and waits until it listens. The test's end stops it;
// see [Server.Stop].
func Serve(t testing.TB, flags ...string) *Server {
	t.Helper()
	return ServeCmd(t, exec.Command(Catenary(t), append([]string{"serve", "--addr", "127.0.0.1:0"}, flags...)...))
}

// ServeCmd is [Serve] with a command that may have an environment or an address of its own.
func ServeCmd(t testing.TB, cmd *exec.Cmd) *Server {
	t.Helper()
	p, err := process.StartCmd(cmd)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Server: p}
	t.Cleanup(func() {
		s.Stop(t)
		if t.Failed() {
			t.Logf("server's talk:\n%s", s.Talk())
		}
	})
	return s
}

// Stop ends the server by SIGTERM, waits for it, and fails the test if a descendant of it is left or if it did not exit
// with 0. It may be called again, and after Kill.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.end(t, syscall.SIGTERM)
	if code := s.Cmd.ProcessState.ExitCode(); code != 0 && !s.killed {
		t.Errorf("the server exited with %d, want 0", code)
	}
}

// Terminate sends SIGTERM and does not wait.
func (s *Server) Terminate(t testing.TB) {
	t.Helper()
	if err := s.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server by SIGKILL, waits for it, and fails the test if a descendant of it is left.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.killed = true
	s.end(t, syscall.SIGKILL)
}

func (s *Server) end(t testing.TB, sig syscall.Signal) {
	t.Helper()
	select {
	case <-s.Exited():
		return
	default:
	}
	children := s.Descendants(t)
	if err := s.Server.Stop(sig); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "every child of the server to end", func() bool {
		for _, c := range children {
			if c.Alive() {
				return false
			}
		}
		return true
	})
}

// Descendants returns the processes below the server, dead ones that nobody has waited for included.
func (s *Server) Descendants(t testing.TB) []Process {
	t.Helper()
	found, err := s.Server.Descendants()
	if err != nil {
		t.Fatal(err)
	}
	var all []Process
	for _, p := range found {
		all = append(all, Process{p})
	}
	return all
}

// Kill sends SIGKILL to the process and waits until it is gone.
func (p Process) Kill(t testing.TB) {
	t.Helper()
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	Eventually(t, fmt.Sprintf("process %d to end", p.PID), func() bool { return !p.Alive() })
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
