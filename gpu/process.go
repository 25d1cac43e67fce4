package gpu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/catenary-run/catenary/gpu/gpuv1"
)

const (
	// startLimit is for a machine under heavy load; a worker is ready in well under a second.
	startLimit = 30 * time.Second
	// stopLimit is how long a worker may take to end by itself. It takes two seconds at most, unless it hangs.
	stopLimit = 5 * time.Second
	// streamWindow bounds in bytes what gRPC holds of one answer before it makes the worker wait. It takes no less.
	streamWindow = 64 << 10
	// connWindow lets that many answers be held up without stopping those of other models.
	connWindow = 64 * streamWindow
	// maxSocketPath is what every system allows, one less than darwin's 104.
	maxSocketPath = 103
)

// launchProcess starts a worker and returns it once it has described itself.
func (r *Runtime) launchProcess(ctx context.Context) (*worker, error) {
	p, err := r.spawn()
	if err != nil {
		return nil, err
	}
	w, err := p.connect(ctx)
	if err != nil {
		p.kill()
		<-p.done
		return nil, fmt.Errorf("%w (%s)", err, p.exit())
	}
	return w, nil
}

// process is one run of the worker's command.
type process struct {
	cmd      *exec.Cmd
	socket   string
	lifeline io.Closer // its end tells the worker that we are gone
	out, err *lines

	done chan struct{} // closed when the process is reaped and its folder removed
}

// spawn starts the worker's command with a socket of its own.
func (r *Runtime) spawn() (*process, error) {
	home, err := filepath.Abs(r.cfg.Dir)
	if err != nil {
		return nil, err
	}
	cache := filepath.Join(home, "cache")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return nil, err
	}
	dir, err := socketDir(home)
	if err != nil {
		return nil, err
	}
	p := &process{
		cmd:    r.cfg.Command(),
		socket: filepath.Join(dir, "s"),
		out:    newLines(r.cfg.Log),
		err:    newLines(r.cfg.Log),
		done:   make(chan struct{}),
	}
	p.cmd.Args = append(p.cmd.Args, "--socket", p.socket)
	if r.cfg.LlamaLib != "" {
		p.cmd.Args = append(p.cmd.Args, "--llama-lib", r.cfg.LlamaLib)
	}
	if p.cmd.Env == nil {
		p.cmd.Env = []string{} // not ours: it may hold secrets
	}
	// Libffi unpacks itself into the user's cache folder on some systems.
	p.cmd.Env = append(p.cmd.Env, "HOME="+home, "XDG_CACHE_HOME="+cache,
		"GGML_NO_BACKTRACE=1") // or a fault in C would start a debugger, if there is one, and hang in it
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	p.cmd.WaitDelay = time.Second // if something that it started holds its output open
	p.cmd.SysProcAttr = childAttr()
	if p.lifeline, err = p.cmd.StdinPipe(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	started := make(chan error, 1)
	go func() { // joined by done
		defer close(p.done)
		// The kernel sends the parent-death signal when the THREAD that started the child ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // ProcessState says it better
		}
		if err := os.RemoveAll(dir); err != nil {
			r.cfg.Log.Warn("remove the worker's folder", "err", err)
		}
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, fmt.Errorf("start %s: %w", p.cmd.Path, err)
	}
	return p, nil
}

// socketDir makes a private folder for a socket: below dir, or below the system's folder for temporary files if that
// path would be too long for a socket.
func socketDir(dir string) (string, error) {
	const longest = len("/catenary-4294967295/s") // MkdirTemp adds 32 random bits
	if len(dir)+longest > maxSocketPath {
		dir = os.TempDir()
	}
	return os.MkdirTemp(dir, "catenary-") // mode 0700
}

// connect waits until the worker serves, and asks what it is.
func (p *process) connect(ctx context.Context) (*worker, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not ready after %v", startLimit))
	defer cancel()
	select {
	case <-p.out.saw(gpuv1.Ready):
	case <-p.done:
		return nil, errors.New("it ended before it was ready")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	conn, err := newConn(func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", p.socket)
	})
	if err != nil {
		return nil, err
	}
	client := gpuv1.NewWorkerClient(conn)
	res, err := client.Describe(ctx, &gpuv1.DescribeRequest{})
	if err != nil {
		return nil, errors.Join(gpuv1.ErrorOf(ctx, err), conn.Close())
	}
	w := &worker{
		client:      client,
		device:      res.GetDevice(),
		version:     res.GetVersion(),
		unavailable: res.GetUnavailable(),
		done:        make(chan struct{}),
		exit:        p.exit,
		killed:      p.killed,
		kill:        p.kill,
		stop:        p.stop,
	}
	go func() { // joined by done
		defer close(w.done)
		<-p.done
		_ = conn.Close() // its only error is that it is closed
	}()
	return w, nil
}

// newConn returns a connection to a worker over what dial returns.
func newConn(dial func(context.Context, string) (net.Conn, error)) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///worker",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the folder's mode is the lock
		grpc.WithContextDialer(dial),
		grpc.WithIdleTimeout(0),
		grpc.WithDisableServiceConfig(),
		// Fixed, or gRPC would widen it to megabytes on a quick line, and a slow reader would not be felt.
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
	)
}

func (p *process) kill() { _ = p.cmd.Process.Kill() } // its only error is that it has ended

func (p *process) stop() {
	_ = p.lifeline.Close() // the worker may have closed its end
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		p.kill()
		<-p.done
	}
}

// exit says how the process ended, with the last that it wrote to standard error.
func (p *process) exit() string {
	how := p.cmd.ProcessState.String()
	if last := p.err.last(); last != "" {
		how += ": " + last
	}
	return how
}

// killed reports whether a signal from outside ended it. A fault of its own is an exit status or another signal.
func (p *process) killed() bool {
	if p.cmd.ProcessState == nil {
		return false // it could not be waited for
	}
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && (status.Signal() == syscall.SIGKILL || status.Signal() == syscall.SIGTERM)
}

// Bounds of what is kept and logged of a worker's output.
const (
	maxLine  = 1 << 10
	maxLines = 4
)

// crashMarks begin the report that the Go runtime writes when C code takes the process down: pages of registers and
// stacks, after the one line of C's that says why.
var crashMarks = []string{"SIGABRT:", "SIGSEGV:", "SIGBUS:", "SIGFPE:", "SIGILL:", "fatal error:", "panic:"}

// lines logs what is written to it, line by line, and keeps the last few lines before a crash.
type lines struct {
	log *slog.Logger

	mu      sync.Mutex // guards the fields below
	partial []byte     // of the line being written, at most maxLine
	kept    []string
	crashed bool                     // the rest is the Go runtime's report
	waiting map[string]chan struct{} // closed when the line comes; the map does not change
}

func newLines(log *slog.Logger) *lines {
	return &lines{log: log, waiting: map[string]chan struct{}{gpuv1.Ready: make(chan struct{})}}
}

// saw returns a channel that is closed once the line has been written, be it before the call. It knows gpuv1.Ready only.
func (l *lines) saw(line string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting[line]
}

// Write never fails.
func (l *lines) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		part, rest, whole := bytes.Cut(b, []byte("\n"))
		b = rest
		if line, level := l.add(part, whole); line != "" {
			l.log.Log(context.Background(), level, "model worker says", "line", line)
		}
	}
	return n, nil
}

// add returns a line if it is whole now, and how loud to log it.
func (l *lines) add(part []byte, whole bool) (string, slog.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, part[:min(len(part), maxLine-len(l.partial))]...)
	if !whole {
		return "", 0
	}
	line := strings.ToValidUTF8(strings.TrimSpace(string(l.partial)), "\uFFFD")
	l.partial = l.partial[:0]
	if seen, ok := l.waiting[line]; ok {
		select {
		case <-seen: // it says so twice
		default:
			close(seen) // and stays, for who asks only now
		}
		return "", 0
	}
	if l.crashed || line == "" {
		return line, slog.LevelDebug
	}
	l.kept = append(l.kept, line)
	l.kept = l.kept[max(0, len(l.kept)-maxLines):]
	l.crashed = slices.ContainsFunc(crashMarks, func(mark string) bool { return strings.HasPrefix(line, mark) })
	return line, slog.LevelWarn
}

// last returns the last lines in one.
func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.kept, "; ")
}
