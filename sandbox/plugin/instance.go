package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
)

const (
	// closeGrace is how long a process may take to end by itself when it is asked to.
	closeGrace = 500 * time.Millisecond
	// resetGrace is how long a cancelled call may take to end in the process.
	resetGrace = time.Second
	// windowBytes is how far the output of a call may run ahead of its reader. It is fixed, since gRPC would otherwise
	// let it grow with the speed of the connection.
	windowBytes = 256 << 10
)

// memAllowance is added to a plugin's memory limit where the kernel holds it to that: it counts memory that a runtime
// has reserved but not used. A Go plugin is charged with 80 MiB before it has allocated anything, and each thread of a
// C library with the 8 MiB that its stack may grow to.
const memAllowance = 256 << 20

// instance is one plugin process. One go-plugin client belongs to it.
type instance struct {
	id     string
	limits functions.Limits
	client *goplugin.Client
	launch *launcher
	folder *folder
	rpc    pluginv1.PluginClient
	proc   *process

	inStream bool // the input is a stream
	unary    bool // the output is exactly one item
	calls    atomic.Uint64
	notices  bool // the input is a stream, and the plugin says what it has taken of it

	spent      atomic.Bool // a call crashed: no other one may follow
	overMemory atomic.Bool // it was killed for its memory

	mu     sync.Mutex // guards the fields below
	closed bool
	fail   context.CancelCauseFunc // of the call that runs; nil if there is none

	ending sync.Once
	err    error // of Close
}

// start starts a process and returns it when it says that it is ready. The error wraps functions.ErrColdStart and has
// the last lines that the process wrote.
func (d *Driver) start(ctx context.Context, m *functions.Manifest, program string) (*instance, error) {
	folder, err := newFolder(d.instances)
	if err != nil {
		return nil, fmt.Errorf("%w: function %s: %w", functions.ErrColdStart, m.Name, err)
	}
	i := &instance{limits: m.CallLimits(), inStream: m.In.Stream, unary: !m.Out.Stream, folder: folder}
	ready, cancel := context.WithTimeoutCause(ctx, d.cfg.StartTimeout, fmt.Errorf("it was not ready within %s", d.cfg.StartTimeout))
	defer cancel()
	if err := i.connect(ready, d, m, program); err != nil {
		err = d.startError(ctx, ready, i, m, err)
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

// connect starts the process, waits for the handshake and for an answer of the service.
func (i *instance) connect(ctx context.Context, d *Driver, m *functions.Manifest, program string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	spec := d.confinement(program, m, i.limits)
	stop := func() bool { return true }
	i.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: goplugin.HandshakeConfig{
			ProtocolVersion: pluginv1.ProtocolVersion, MagicCookieKey: pluginv1.CookieKey, MagicCookieValue: pluginv1.CookieValue,
		},
		Plugins:          goplugin.PluginSet{pluginv1.PluginName: service{}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     2 * d.cfg.StartTimeout, // ours comes first
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: i.folder.path},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, dir string) (_ runner.Runner, err error) {
			i.launch, err = newLauncher(d.cfg.Confine, cmd, dir, spec, i.limits.MemBytes, d.idleLog(m.Name))
			if err != nil {
				return nil, err
			}
			// go-plugin's start knows no context: what ends it is the end of the process.
			i.launch.then = func(p *process) { stop = context.AfterFunc(ctx, p.kill) }
			return i.launch, nil
		},
		SyncStdout: &lateOutput{i: i},
		SyncStderr: &lateOutput{i: i},
		Logger:     hclog.NewNullLogger(),
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithInitialWindowSize(windowBytes),
			grpc.WithInitialConnWindowSize(2 * windowBytes),
		},
	})
	defer func() { stop() }()
	if _, err := i.client.Start(); err != nil {
		return err
	}
	i.proc = i.launch.proc
	i.id = fmt.Sprintf("%s-%d", m.Name, i.proc.pid)
	protocol, err := i.client.Client()
	if err != nil {
		return err
	}
	rpc, err := protocol.Dispense(pluginv1.PluginName)
	if err != nil {
		return err
	}
	i.rpc = rpc.(pluginv1.PluginClient)
	answer, err := i.rpc.Describe(ctx, &pluginv1.DescribeRequest{})
	i.notices = i.inStream && answer.GetNotices()
	return err
}

// confinement returns what a process of the program is held by.
func (d *Driver) confinement(program string, m *functions.Manifest, limits functions.Limits) confinement {
	return confinement{
		artifact: program, digest: m.Artifact, data: limits.MemBytes + memAllowance,
		parent: os.Getpid(), clone: d.clone, userBase: d.userBase, oneUser: d.oneUser, args: m.Args,
	}
}

// idleLog takes the lines that a function's processes write outside of calls.
func (d *Driver) idleLog(name string) lineFunc {
	return func(level slog.Level, line string) {
		d.cfg.Log.Log(context.Background(), level, line, "func", name)
	}
}

// lateOutput is where standard output and error come of a Go plugin that is not made with sdk/plugin: go-plugin brings
// them over the connection.
type lateOutput struct {
	i     *instance
	lines splitter // guarded by the mutex of the logs
}

// Write adds to the log.
func (o *lateOutput) Write(b []byte) (int, error) {
	logs := o.i.launch.proc.logs
	logs.mu.Lock()
	defer logs.mu.Unlock()
	o.lines.write(b, logs.emit)
	return len(b), nil
}

// service is the client as go-plugin wants it.
type service struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (service) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("the node serves nothing to a plugin")
}

func (service) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return pluginv1.NewPluginClient(conn), nil
}

// describe asks the process what it serves.
func (i *instance) describe(ctx context.Context) (*description, error) {
	answer, err := i.rpc.Describe(ctx, &pluginv1.DescribeRequest{})
	if err != nil {
		return nil, i.failure(ctx, err)
	}
	said := &description{
		Version: descriptionVersion, Name: answer.GetName(),
		InStream: answer.GetInStream(), OutStream: answer.GetOutStream(), Turns: answer.GetTurns(),
	}
	for _, port := range []struct {
		name   string
		schema []byte
		to     **functions.Schema
	}{{"input", answer.GetInSchema(), &said.In}, {"output", answer.GetOutSchema(), &said.Out}} {
		err := json.Unmarshal(port.schema, port.to)
		if err == nil && *port.to == nil {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			err = (*port.to).Validate()
		}
		if err != nil {
			return nil, fmt.Errorf("%w: the plugin describes its %s with %.100q: %w", functions.ErrInvalid, port.name, port.schema, err)
		}
	}
	return said, nil
}

// ID returns the function's name and the process id.
func (i *instance) ID() string { return i.id }

// MemBytes returns what the process and its descendants have in memory, without what they only map from files.
func (i *instance) MemBytes() int64 { return i.proc.memory(0) }

// Done is closed when the process has ended, by itself or by Close.
func (i *instance) Done() <-chan struct{} { return i.proc.done }

// Reset waits until no call runs in the process any more, and asks whether it can serve the next one. What a call left
// in the process's own memory stays there.
func (i *instance) Reset(ctx context.Context) error {
	if i.spent.Load() || i.isClosed() {
		return sandbox.ErrSpent
	}
	ctx, cancel := context.WithTimeout(ctx, resetGrace)
	defer cancel()
	for wait := time.Millisecond; ; wait *= 2 {
		health, err := i.rpc.Health(ctx, &pluginv1.HealthRequest{})
		if err == nil && health.GetRunning() == 0 {
			return nil
		}
		if err == nil {
			select {
			case <-time.After(wait):
				continue
			case <-ctx.Done():
				err = errors.New("the last call goes on though it was cancelled")
			}
		}
		i.spent.Store(true)
		i.proc.kill()
		return fmt.Errorf("%w: %w", sandbox.ErrSpent, err)
	}
}

// Close ends the process: it is asked first, then killed. It returns when nothing of it is left.
func (i *instance) Close() error {
	i.mu.Lock()
	i.closed = true
	if i.fail != nil {
		i.fail(i.closedError())
	}
	i.mu.Unlock()
	i.ending.Do(func() {
		var errs []error
		if i.launch != nil && i.launch.proc != nil {
			kill := time.AfterFunc(closeGrace, i.launch.proc.kill)
			i.client.Kill()
			kill.Stop()
			i.launch.proc.kill()
			<-i.launch.proc.done
		}
		if i.launch != nil {
			errs = append(errs, i.launch.socket.Close())
		}
		errs = append(errs, i.folder.remove())
		i.err = errors.Join(errs...)
	})
	return i.err
}

func (i *instance) isClosed() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.closed
}

func (i *instance) closedError() error {
	return fmt.Errorf("%w: instance %s", functions.ErrClosed, i.id)
}

// begin makes fail end the call that begins. It returns an error if the instance is closed.
func (i *instance) begin(fail context.CancelCauseFunc) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return i.closedError()
	}
	i.fail = fail
	return nil
}

func (i *instance) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = nil
}

// lastLines returns the end of the process's log as a part of a sentence.
func (i *instance) lastLines() string {
	if i.launch == nil || i.launch.proc == nil {
		return ""
	}
	i.launch.proc.logs.drain()
	lines := i.launch.proc.logs.last()
	if len(lines) == 0 {
		return "; it wrote nothing to its standard error"
	}
	return "; its last words: " + strings.Join(lines, " | ")
}
