// Command odd is a plugin that does, named by its first argument or by its input, what plugins should not do. It also
// tells what it sees of the world around it.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/plugin"
	"golang.org/x/sys/unix"
)

var odd = sdk.NewFunc[string, string]("odd")

func main() {
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "exit":
		fmt.Fprintln(os.Stderr, "first line")
		fmt.Fprintln(os.Stderr, "the tea is cold")
		os.Exit(3)
	case "hang":
		fmt.Fprintln(os.Stderr, "waiting for the kettle")
		time.Sleep(time.Hour)
	case "garbage":
		fmt.Println("good morning")
		time.Sleep(time.Hour)
	case "tcp":
		fmt.Println("1|1|tcp|127.0.0.1:9|grpc|")
		time.Sleep(time.Hour)
	case "elsewhere":
		fmt.Println("1|1|unix|/run/docker.sock|grpc|")
		time.Sleep(time.Hour)
	case "netrpc":
		fmt.Println("1|1|unix|sock|netrpc|")
		time.Sleep(time.Hour)
	case "version":
		fmt.Println("1|99|unix|sock|grpc|")
		time.Sleep(time.Hour)
	case "grandchild":
		spawn("grandchild-sleeps")
	case "grandchild-sleeps":
		signal.Ignore() // all of them
		time.Sleep(time.Hour)
	case "hoards":
		hoard := bytes.Repeat([]byte{1}, 128<<20)
		time.Sleep(time.Hour)
		runtime.KeepAlive(hoard)
	case "shares":
		if _, err := share(os.NewFile(3, "shared")); err != nil {
			fmt.Println(err)
		}
		fmt.Println("ready")
		time.Sleep(time.Hour)
	}
	plugin.Serve(odd, run, plugin.OnStart(func() error {
		fmt.Println("a line on standard output before the handshake")
		if mode == "start-error" {
			return errors.New("the model is not installed")
		}
		return nil
	}))
}

func run(ctx context.Context, do string) (string, error) {
	switch do {
	case "see":
		return see()
	case "exit":
		os.Exit(7)
	case "abort":
		if err := syscall.Kill(os.Getpid(), syscall.SIGABRT); err != nil {
			return "", err
		}
		time.Sleep(time.Hour)
	case "panic elsewhere":
		go panic("a goroutine fell")
		time.Sleep(time.Hour)
	case "wait":
		<-ctx.Done()
		return "", ctx.Err()
	case "wait for ever":
		fmt.Fprintln(os.Stderr, "waiting")
		time.Sleep(time.Hour)
	case "grandchild":
		return fmt.Sprint(spawn("grandchild-sleeps")), nil
	case "hoard in a child":
		spawn("hoards")
		time.Sleep(time.Hour)
	case "share with a child":
		return shareWithChild()
	case "pid":
		return os.Readlink("/proc/self") // as the node counts
	}
	return "", fmt.Errorf("nothing known of %q", do)
}

// spawn starts this program again, in a session of its own, and leaves it alone.
func spawn(mode string) int {
	cmd := exec.Command("/proc/self/exe", mode)
	cmd.Stderr = os.Stderr // an open pipe must not hold up anybody
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 0
	}
	return cmd.Process.Pid
}

// sharedBytes is the size of what share maps.
const sharedBytes = 64 << 20

// share maps a file and writes to all of it.
func share(f *os.File) ([]byte, error) {
	b, err := syscall.Mmap(int(f.Fd()), 0, sharedBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	for i := range b {
		b[i] = 1
	}
	return b, err
}

// shareWithChild has the same memory in this process and in a child.
func shareWithChild() (string, error) {
	fd, err := unix.MemfdCreate("shared", unix.MFD_CLOEXEC)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), "shared")
	if err := f.Truncate(sharedBytes); err != nil {
		return "", err
	}
	if _, err := share(f); err != nil {
		return "", err
	}
	cmd := exec.Command("/proc/self/exe", "shares")
	cmd.ExtraFiles = []*os.File{f}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	return bufio.NewReader(out).ReadString('\n')
}

// see returns, as JSON, what the process is and may do.
func see() (string, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", err
	}
	limits, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		return "", err
	}
	seen := map[string]string{}
	for line := range strings.Lines(string(status)) {
		name, rest, _ := strings.Cut(line, ":")
		seen[name] = strings.Join(strings.Fields(rest), " ")
	}
	for line := range strings.Lines(string(limits)) {
		seen[strings.TrimSpace(line[:min(26, len(line))])] = strings.Join(strings.Fields(line[min(26, len(line)):]), " ")
	}
	var names []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		names = append(names, name)
	}
	seen["env"] = strings.Join(names, " ")
	seen["args"] = strings.Join(os.Args[1:], " ")
	seen["leader"] = fmt.Sprint(syscall.Getpgrp() == os.Getpid())
	entries, err := os.ReadDir(".")
	if err != nil {
		return "", err
	}
	seen["files"] = fmt.Sprint(len(entries))
	seen["leaked"] = "no"
	open, _ := os.ReadDir("/proc/self/fd")
	for _, e := range open {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasSuffix(to, "/leak") {
			seen["leaked"] = e.Name()
		}
	}
	b, err := json.Marshal(seen)
	return string(b), err
}
