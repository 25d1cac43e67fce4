package testkit

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
)

// Redis is a redis-server of one test alone.
type Redis struct {
	Addr string

	cmd     *exec.Cmd
	stopped bool
}

// FreePort returns a port of the loopback that nobody listens on just now.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// StartRedis starts a redis-server, and returns once it takes connections. It keeps nothing on disk unless args say so,
// and ends with the test.
func StartRedis(t testing.TB, port int, args ...string) *Redis {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is missing: apt-get install redis-server")
	}
	// What comes later counts, so that args may change all but the port.
	args = append([]string{"--save", "", "--appendonly", "no", "--dir", t.TempDir(), "--bind", "127.0.0.1", "--daemonize", "no"}, args...)
	r := &Redis{Addr: fmt.Sprintf("127.0.0.1:%d", port), cmd: exec.Command(bin, append(args, "--port", fmt.Sprint(port))...)}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Stop(t) })
	var log strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&log, lines.Text())
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go io.Copy(io.Discard, out) // ends with the process, so that its log never blocks it
			return r
		}
	}
	t.Fatalf("redis-server did not start:\n%s", log.String())
	return nil
}

// URL returns what --store takes.
func (r *Redis) URL() string { return "redis://" + r.Addr }

// Save makes the server write what it holds into its folder, where a server that is started later finds it.
func (r *Redis) Save(t testing.TB) {
	t.Helper()
	c, err := net.Dial("tcp", r.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "SAVE\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := bufio.NewReader(c).ReadString('\n'); err != nil || answer != "+OK\r\n" {
		t.Fatalf("SAVE: %q, %v", answer, err)
	}
}

// Stop kills the server and waits until it is gone. Further calls do nothing.
func (r *Redis) Stop(t testing.TB) {
	t.Helper()
	if r.stopped {
		return
	}
	r.stopped = true
	if err := r.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	r.cmd.Wait() // always an error: it was killed
}
