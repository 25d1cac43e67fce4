package gpu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/openai"
	"github.com/catenary-run/catenary/gpu/openai/openaitest"
	osprocess "github.com/catenary-run/catenary/internal/process"
	"github.com/catenary-run/catenary/internal/testkit"
)

// freePort returns a port of loopback that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return strings.TrimPrefix(lis.Addr().String(), "127.0.0.1:")
}

// started is a Runtime that starts this binary as its endpoint.
type started struct {
	*Runtime
	llm  functions.Ref
	stop func()
	log  *syncBuffer
}

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// commandConfig returns a Config whose endpoint is this binary with flags, and its model.
func commandConfig(port string, flags ...string) (Config, functions.Ref, error) {
	exe, err := os.Executable()
	url := "http://127.0.0.1:" + port + "/v1"
	m := functions.Model{Name: "llm", Engine: functions.EngineOpenAI, URL: url, Served: openaitest.Model}
	models := catalogue{m.Digest(): {model: m}}
	return Config{
		Command: noCommand, Dir: "unused", Models: models, Engine: func() error { return functions.ErrNoDevice },
		Endpoints: []Endpoint{{URL: url, Command: append([]string{exe, "endpoint", "-addr", "127.0.0.1:" + port}, flags...)}},
	}, m.Ref(), err
}

func startCommand(t *testing.T, change func(*Config), flags ...string) started {
	t.Helper()
	cfg, llm, err := commandConfig(freePort(t), flags...)
	if err != nil {
		t.Fatal(err)
	}
	s := started{llm: llm, log: &syncBuffer{}}
	cfg.Log = slog.New(slog.NewTextHandler(s.log, nil))
	if change != nil {
		change(&cfg)
	}
	s.Runtime = New(cfg)
	s.stop = run(t, s.Runtime)
	t.Cleanup(func() {
		s.stop()
		if left := children(t); len(left) > 0 {
			t.Errorf("processes are left: %v", left)
		}
		if t.Failed() {
			t.Logf("log:\n%s", s.log)
		}
	})
	return s
}

// children returns the processes below this one.
func children(t *testing.T) []osprocess.Process {
	t.Helper()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("this system has no /proc to see a process in")
	}
	all, err := osprocess.Descendants(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// stateOf returns the letter of a process's state; of one that has gone, or waits to be reaped by whoever inherited it, Z.
func stateOf(p osprocess.Process) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil || !p.Alive() {
		return "Z"
	}
	return string(stat[bytes.LastIndexByte(stat, ')')+2])
}

func wantState(t *testing.T, all []osprocess.Process, want string) {
	t.Helper()
	for _, p := range all {
		testkit.Eventually(t, fmt.Sprintf("the state of %v to be %s", p.Args, want), func() bool { return stateOf(p) == want })
	}
}

// A real process is started, stopped while nobody uses it, goes on, and is ended, with what it started itself.
func TestCommand_Lifecycle(t *testing.T) {
	r := startCommand(t, func(c *Config) { c.IdleAfter = 100 * time.Millisecond }, "-parent")
	for range 2 {
		if text, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello")); err != nil || text != words(3) {
			t.Fatalf("got %q, %v", text, err)
		}
		all := children(t)
		if len(all) != 2 {
			t.Fatalf("%d processes, want the server and what it started", len(all))
		}
		wantState(t, all, "T")
	}
	if st := statusOf(t, r.Runtime, r.llm); st.Tier != TierParked {
		t.Errorf("status %+v", st)
	}
	all, began := children(t), time.Now()
	r.stop()
	wantState(t, all, "Z")
	if took := time.Since(began); took > serverStopLimit {
		t.Errorf("a stopped server ended after %v: it did not hear SIGTERM", took)
	}
}

// How a process ended is told to who called it, and what it leaves behind ends with it.
func TestCommand_Crashes(t *testing.T) {
	t.Run("crashed", func(t *testing.T) {
		r := startCommand(t, nil, "-parent")
		if _, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello")); err != nil {
			t.Fatal(err)
		}
		all := children(t)
		_, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask(openaitest.Crash))
		if !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err) || !strings.Contains(err.Error(), "exit status 3: CUDA error: an illegal memory access") {
			t.Errorf("got %v", err)
		}
		wantState(t, all, "Z")
		if text, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello")); err != nil || text != words(3) {
			t.Errorf("the next call: %q, %v", text, err)
		}
	})
	t.Run("fails at once", func(t *testing.T) {
		r := startCommand(t, nil, "-fail")
		_, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello"))
		if !errors.Is(err, functions.ErrColdStart) || !strings.Contains(err.Error(), "it ended before it was ready (exit status 4: no such model file)") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no such program", func(t *testing.T) {
		r := startCommand(t, func(c *Config) { c.Endpoints[0].Command = []string{"/nowhere/vllm"} })
		_, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello"))
		if !errors.Is(err, functions.ErrColdStart) || !strings.Contains(err.Error(), "/nowhere/vllm") {
			t.Errorf("got %v", err)
		}
	})
}

// A command gets the variables that the node's file names, and no others; what it prints is in the log, without the key.
func TestCommand_EnvironmentAndLog(t *testing.T) {
	t.Setenv("CATENARY_TEST_KEY", "sk-secret-9")
	t.Setenv("CATENARY_TEST_OTHER", "another secret")
	r := startCommand(t, func(c *Config) {
		c.Endpoints[0].Key, c.Endpoints[0].Env = openai.Key{Env: "CATENARY_TEST_KEY"}, []string{"CATENARY_TEST_KEY"}
	}, "-key-env", "CATENARY_TEST_KEY")
	if text, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello")); err != nil || text != words(3) {
		t.Errorf("got %q, %v", text, err)
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", children(t)[0].PID))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(environ, []byte("CATENARY_TEST_KEY=sk-secret-9")) || !bytes.Contains(environ, []byte("PATH=")) || bytes.Contains(environ, []byte("another secret")) {
		t.Errorf("its environment is %q", environ)
	}
	testkit.Eventually(t, "its line in the log", func() bool { return strings.Contains(r.log.String(), "started with key [key]") })
	if strings.Contains(r.log.String(), "sk-secret-9") {
		t.Error("the key is in the log")
	}
}

// hostMain runs a Runtime with an endpoint on the port that it is given until it is killed. It says when the endpoint rests.
func hostMain(args []string) int {
	cfg, llm, err := commandConfig(args[0])
	if err != nil {
		return 1
	}
	cfg.IdleAfter = time.Millisecond
	r := New(cfg)
	ctx := context.Background()
	go func() { _ = r.Run(ctx) }()
	if err := r.Wake(ctx, llm); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for r.Status()[0].Tier != TierParked {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("parked")
	select {}
}

// When we are killed, a server of ours does not stay, not even one that was stopped.
func TestCommand_KillOfTheHostLeavesNothing(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	host := exec.Command(exe, "host", freePort(t))
	host.Stderr = t.Output()
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	_, err = bufio.NewReader(out).ReadString('\n')
	all := children(t)
	if killErr := host.Process.Kill(); err != nil || killErr != nil || len(all) != 2 {
		t.Fatalf("%d processes, want the host and its endpoint: %v, %v", len(all), err, killErr)
	}
	_ = host.Wait() // it was killed
	wantState(t, all, "Z")
}
