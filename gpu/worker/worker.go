package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"github.com/catenary-run/catenary/gpu/gpuv1"
	"github.com/catenary-run/catenary/gpu/llama"
)

// maxRequestBytes bounds one message from the parent: the longest conversation that the engine takes, and its frame.
const maxRequestBytes = 5 << 20

// stopGrace is how long the calls in flight may take to notice the end. They look at it before each token.
const stopGrace = 2 * time.Second

// errParentGone ends a worker whose lifeline ended.
var errParentGone = errors.New("the parent is gone")

// Config of the process.
type Config struct {
	// Socket is the path to listen on, in a folder that nobody else may enter.
	Socket string
	// LlamaLib is the folder of libllama; empty means that there is none.
	LlamaLib string
	// Lifeline ends when the parent is gone. Nil takes standard input.
	Lifeline io.Reader
	// Stdout gets the line gpuv1.Ready. Nil takes standard output.
	Stdout io.Writer
	// Log gets what a person may want to know of the process's life. Nil discards it.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Lifeline == nil {
		c.Lifeline = os.Stdin
	}
	if c.Stdout == nil {
		c.Stdout = os.Stdout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Main serves until ctx or the lifeline ends, and leaves nothing in the socket's folder. It returns nil then. The
// process must exit when Main returns, since a call that hangs in the engine can't be ended otherwise.
func Main(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	lis, err := listen(cfg.Socket)
	if err != nil {
		return fmt.Errorf("gpu worker: %w", err)
	}
	defer removeSocket(cfg.Socket)
	return serve(ctx, cfg, lis, openEngine(cfg))
}

// openEngine returns the service of the engine, or of its absence.
func openEngine(cfg Config) *service {
	engine, err := llama.Open(llama.Config{LibDir: cfg.LlamaLib, LinkDir: filepath.Dir(cfg.Socket)})
	if err != nil {
		cfg.Log.Warn("no engine", "err", err)
		return newService(nil, err)
	}
	cfg.Log.Debug("engine loaded", "engine", engine.Version())
	return newService(llamaEngine{engine}, nil)
}

func serve(ctx context.Context, cfg Config, lis net.Listener, svc *service) error {
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(maxRequestBytes), grpc.WaitForHandlers(true))
	gpuv1.RegisterWorkerServer(srv, svc)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// This goroutine has no join: a read of standard input can't be ended. It ends with the process.
	go func() {
		_, _ = io.Copy(io.Discard, cfg.Lifeline)
		cancel(errParentGone)
	}()

	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	if _, err := fmt.Fprintln(cfg.Stdout, gpuv1.Ready); err != nil {
		cancel(err)
	}
	select {
	case err := <-served:
		return fmt.Errorf("gpu worker: %w", err)
	case <-ctx.Done():
		cfg.Log.Debug("stopping", "cause", context.Cause(ctx))
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		srv.Stop() // ends the calls, and waits for them and for Serve
		svc.wait()
	}()
	select {
	case <-stopped:
		<-served
		return nil
	case <-time.After(stopGrace):
		return errors.New("gpu worker: a call hangs in the engine; it ends with the process")
	}
}

// listen makes the socket, for this user only.
func listen(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("the socket's folder has mode %o; it must be 700", perm)
	}
	lis, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, lis.Close())
	}
	return lis, nil
}

// removeSocket removes the socket, and its folder if nothing else is in it: after the parent was killed nobody else
// would.
func removeSocket(path string) {
	if err := os.Remove(path); err == nil || errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(filepath.Dir(path))
	}
}
