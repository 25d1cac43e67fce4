package gpu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
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
	*child
	socket   string
	lifeline io.Closer // its end tells the worker that we are gone
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
		child:  newChild(r.cfg.Command(), newLines(r.cfg.Log), newLines(r.cfg.Log)),
		socket: filepath.Join(dir, "s"),
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
	if p.lifeline, err = p.cmd.StdinPipe(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return p, p.start(func() {
		if err := os.RemoveAll(dir); err != nil {
			r.cfg.Log.Warn("remove the worker's folder", "err", err)
		}
	})
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

func (p *process) stop() {
	_ = p.lifeline.Close() // the worker may have closed its end
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		p.kill()
		<-p.done
	}
}
