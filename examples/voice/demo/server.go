package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// server is a catenary process.
type server struct {
	url    string
	cmd    *exec.Cmd
	stderr io.ReadCloser
}

// withServer starts a server on a free port, calls use, and stops the server: no process is left, whatever happens.
func (d *demo) withServer(ctx context.Context, use func(context.Context, *server) error) (err error) {
	s := &server{cmd: exec.CommandContext(ctx, d.binary, "serve", "--addr", "127.0.0.1:0", "--data", d.data, "--llama-lib", d.llama)}
	// Interrupted or done, the server gets the time to end its own children.
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.WaitDelay = 20 * time.Second
	if s.stderr, err = s.cmd.StderrPipe(); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	ready, talk := make(chan string, 1), new(bytes.Buffer)
	read := make(chan struct{})
	go func() { // ends with the server's output; waited for below
		defer close(read)
		lines := bufio.NewScanner(s.stderr)
		for lines.Scan() {
			fmt.Fprintln(talk, lines.Text())
			if url, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
				ready <- url
			}
		}
	}()
	defer func() {
		s.cmd.Process.Signal(syscall.SIGTERM)
		<-read
		if e := s.cmd.Wait(); err == nil && e != nil {
			err = fmt.Errorf("the server: %w", e)
		}
		if err != nil {
			err = fmt.Errorf("%w\nThe server said:\n%s", err, talk.String())
		}
	}()
	select {
	case s.url = <-ready:
		return use(ctx, s)
	case <-read:
		return errors.New("the server ended before it listened")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
