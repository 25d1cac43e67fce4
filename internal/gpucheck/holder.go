package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/catenary-run/catenary/gpu/cuda"
)

// holdArg has this program be a process that holds device memory.
const holdArg = "hold"

// answerWithin is how long the other process may take to answer; it is killed then.
const answerWithin = 2 * time.Minute

// lockWithin is how long the driver may wait for the other process's work, which is none.
const lockWithin = 10 * time.Second

// hold is the other process: it has memory as any engine has it, says "ready", and answers each line with how many words
// are wrong. It ends with its input.
func hold(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet(holdArg, flag.ContinueOnError)
	var o options
	flags.StringVar(&o.driver, "driver", "", "")
	flags.IntVar(&o.device, "device", 0, "")
	size := flags.Int64("bytes", 0, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := open(o)
	if err != nil {
		return err
	}
	at, err := l.device.Allocate(*size)
	if err != nil {
		return err
	}
	seed := uint64(*size)
	if err := errors.Join(l.launch(l.pattern, at, *size, seed), l.stream.Synchronize()); err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	for lines := bufio.NewScanner(in); lines.Scan(); {
		err := errors.Join(l.resetCount(), l.count(at, *size, seed))
		if err != nil {
			return err
		}
		wrong, err := l.scrapValue()
		if err != nil {
			return err
		}
		fmt.Fprintln(out, wrong)
	}
	return errors.Join(l.device.Free(at), l.close())
}

// holder is that process, seen from here. One goroutine uses it; nil is one that was stopped.
type holder struct {
	cmd         *exec.Cmd
	in          io.WriteCloser
	out         *bufio.Scanner
	checkpoints *cuda.Checkpoints
}

// startHolder returns a process with size bytes on the device, which the caller stops.
func (l *lab) startHolder(ctx context.Context, size int64) (*holder, error) {
	checkpoints, err := l.ctl.Checkpoints()
	if err != nil {
		return nil, err
	}
	if err := hostRoom(size); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, holdArg, "-driver", l.driver, "-device", strconv.Itoa(l.options.device), "-bytes", strconv.FormatInt(size, 10))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	h := &holder{cmd: cmd, in: in, out: bufio.NewScanner(out), checkpoints: checkpoints}
	if line, err := h.answer(); err != nil || line != "ready" {
		h.stop()
		return nil, fmt.Errorf("the process to compare with did not start: %q, %w", line, err)
	}
	return h, nil
}

// answer returns the next line.
func (h *holder) answer() (string, error) {
	late := time.AfterFunc(answerWithin, func() { _ = h.cmd.Process.Kill() })
	defer late.Stop()
	if !h.out.Scan() {
		return "", errors.Join(h.out.Err(), io.ErrUnexpectedEOF)
	}
	return strings.TrimSpace(h.out.Text()), nil
}

func (h *holder) checkpoint() error {
	pid := h.cmd.Process.Pid
	if err := h.checkpoints.Lock(pid, lockWithin); err != nil {
		return err
	}
	return h.checkpoints.Checkpoint(pid)
}

func (h *holder) restore() error {
	pid := h.cmd.Process.Pid
	if err := h.checkpoints.Restore(pid); err != nil {
		return err
	}
	return h.checkpoints.Unlock(pid)
}

// verify has the process look at its memory.
func (h *holder) verify() error {
	if _, err := fmt.Fprintln(h.in, "verify"); err != nil {
		return err
	}
	line, err := h.answer()
	if err != nil {
		return fmt.Errorf("the process that was restored: %w", err)
	}
	if line != "0" {
		return fmt.Errorf("%w: restored: %s words of 8 bytes are not what they should be", errWrongBytes, line)
	}
	return nil
}

// stop ends the process, whatever state it is in.
func (h *holder) stop() {
	if h == nil {
		return
	}
	_ = h.in.Close()
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}
