package plugin

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
)

// tempEnv is the variable that names the folder for temporary files.
const tempEnv = "TMPDIR"

// launcher starts one process the way go-plugin wants it, as its runner.Runner.
type launcher struct {
	argv   []string // the command that confines
	env    []string
	spec   confinement
	idle   lineFunc
	socket *os.File // the open folder of the plugin's socket
	proc   *process // nil until Start
	then   func(*process)
}

// newLauncher returns a launcher of what go-plugin prepared: cmd has its variables, dir is the folder for the socket.
func newLauncher(argv []string, cmd *exec.Cmd, dir string, spec confinement, memBytes int64, idle lineFunc) (*launcher, error) {
	socket, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	spec.dir = dir
	env := []string{pluginv1.MemEnv + "=" + strconv.FormatInt(memBytes, 10)}
	for _, v := range environment(cmd.Env) {
		if !strings.HasPrefix(v, goplugin.EnvUnixSocketDir+"=") {
			env = append(env, v)
		}
	}
	// The plugin's working folder is that of the socket: it may not pass through those above it. What it leaves in the
	// folder for temporary files goes with it.
	env = append(env, goplugin.EnvUnixSocketDir+"=.", tempEnv+"=.")
	return &launcher{argv: argv, env: env, spec: spec, idle: idle, socket: socket}, nil
}

// Start starts the process.
func (l *launcher) Start(context.Context) error {
	proc, err := startProcess(l.argv, l.env, l.spec, l.idle)
	if err != nil {
		return err
	}
	l.proc = proc
	l.then(proc)
	return nil
}

// Wait returns when nothing of the process is left.
func (l *launcher) Wait(context.Context) error {
	<-l.proc.done
	return nil
}

// Kill ends the process.
func (l *launcher) Kill(context.Context) error {
	if l.proc != nil {
		l.proc.kill()
	}
	return nil
}

// Stdout is where the handshake's line comes.
func (l *launcher) Stdout() io.ReadCloser { return l.proc.stdout }

// Stderr is empty: we read the log ourselves.
func (l *launcher) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name returns the program.
func (l *launcher) Name() string { return l.spec.artifact }

// ID returns the process id; it is empty if there is no process.
func (l *launcher) ID() string {
	if l.proc == nil {
		return ""
	}
	return strconv.Itoa(l.proc.pid)
}

// Diagnose adds nothing: the last lines of the log are in our own error.
func (l *launcher) Diagnose(context.Context) string { return "" }

// PluginToHost returns how the node reaches the socket that the plugin named. It goes through the open folder, since
// the whole path may be longer than a socket's address can be.
func (l *launcher) PluginToHost(network, address string) (string, string, error) {
	name := filepath.Clean(address)
	if network != "unix" || name != filepath.Base(name) || name == "." || name == ".." || name == "/" {
		return "", "", fmt.Errorf("%w: the plugin listens on %s %q, not on a unix socket in the folder that PLUGIN_UNIX_SOCKET_DIR names",
			functions.ErrInvalid, network, address)
	}
	return network, fmt.Sprintf("/proc/self/fd/%d/%s", l.socket.Fd(), name), nil
}

// HostToPlugin changes nothing: the node listens on nothing for a plugin.
func (l *launcher) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

var _ runner.Runner = (*launcher)(nil)
