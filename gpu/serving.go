package gpu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// DefaultStartLimit is for a server that reads a large model, compiles kernels and captures graphs.
const DefaultStartLimit = 10 * time.Minute

const (
	// serverStopLimit is for a server that ends answers and frees its device.
	serverStopLimit = 10 * time.Second
	// crashDelay is how much later than its connections the end of a process shows.
	crashDelay = time.Second
	// The first and the longest pause between two looks whether a server is ready.
	readyMin = 50 * time.Millisecond
	readyMax = time.Second
)

// passedOn are the variables that a command gets of our environment. The others may hold secrets.
var passedOn = []string{"PATH", "HOME", "USER", "LANG", "TMPDIR"}

// serving is the process of a server that we started, or what stands for one in a test.
type serving struct {
	done   <-chan struct{}      // closed when it has ended and everything of it is gone
	exit   func() string        // how it ended; only after done
	signal func(syscall.Signal) // to its whole group; it does nothing once it has ended
}

// stop asks the process to end, ends it if it does not, and returns when it has.
func (p *serving) stop() {
	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGCONT) // or one that is stopped would not hear of it
	select {
	case <-p.done:
	case <-time.After(serverStopLimit):
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

// spawnCommand starts the command of e.
func (r *Runtime) spawnCommand(e Endpoint) (*serving, error) {
	cmd := exec.Command(e.Command[0], e.Command[1:]...)
	cmd.Env = []string{}
	for _, name := range append(passedOn[:len(passedOn):len(passedOn)], e.Env...) {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	says := func() *lines {
		return &lines{log: r.cfg.Log.With("device", e.URL), who: "endpoint", level: slog.LevelInfo, clean: e.Key.Redact}
	}
	c := newChild(cmd, says(), says())
	if err := c.start(func() {}); err != nil {
		return nil, err
	}
	return &serving{done: c.done, exit: c.exit, signal: c.signal}, nil
}

// launchServer starts the server of e and returns it once it is ready.
func (r *Runtime) launchServer(ctx context.Context, e Endpoint) (*worker, error) {
	s := r.newServer(e)
	if s.client.Listens(ctx) {
		s.client.Close()
		return nil, fmt.Errorf("%w: %s: somebody listens there already, who would get prompts and key; stop that, or take the command out of the file of --endpoints",
			functions.ErrUnavailable, e.URL)
	}
	process, err := r.spawnServer(e)
	if err != nil {
		s.client.Close()
		return nil, err
	}
	s.process = process
	go func() { // joined by gone
		defer close(s.gone)
		<-process.done
		s.client.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.over {
			s.over, s.reason = true, errors.New(process.exit())
		}
	}()
	if err := s.ready(ctx, cmp.Or(e.StartLimit, DefaultStartLimit)); err != nil {
		s.stop()
		return nil, err
	}
	return s.worker(), nil
}

// ready waits until a server that was just started can be asked.
func (s *server) ready(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: %s: not ready after %v", functions.ErrColdStart, s.url, limit))
	defer cancel()
	for pause := readyMin; ; pause = min(2*pause, readyMax) {
		err := s.client.Check(ctx)
		if err == nil {
			break
		}
		if ctx.Err() == nil && !functions.Retryable(err) {
			return err
		}
		select {
		case <-s.gone:
			return fmt.Errorf("%s: it ended before it was ready (%s)", s.url, s.exit())
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(pause):
		}
	}
	var err error
	_, s.naps, err = s.client.Sleeping(ctx)
	return err
}

// park has the process rest: asleep, if it knows how to free its device, and otherwise stopped, which frees processors.
func (s *server) park(ctx context.Context) error {
	if s.naps {
		return s.client.Sleep(ctx)
	}
	s.process.signal(syscall.SIGSTOP)
	return nil
}

// unpark is the reverse.
func (s *server) unpark(ctx context.Context) error {
	if s.naps {
		return s.client.WakeUp(ctx)
	}
	s.process.signal(syscall.SIGCONT)
	return nil
}
