package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/catenary-run/catenary/functions/value"
)

// wasmtimeArm is a process that runs a guest under wasmtime-go; see ./wasmtime.
type wasmtimeArm struct {
	cmd    *exec.Cmd
	orders io.WriteCloser
	lines  *bufio.Scanner
}

// buildWasmtime builds the program of the arm: it is a module of its own, and needs a C compiler.
func buildWasmtime(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "wasmtime")
	cmd := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join("internal", "bench", "wasmtime"), "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the wasmtime arm: %w\n%s", err, msg)
	}
	return program, nil
}

// startWasmtime starts the program on a guest and returns when it has compiled it.
func startWasmtime(ctx context.Context, program, file string, in []byte) (*wasmtimeArm, error) {
	a := &wasmtimeArm{cmd: exec.CommandContext(ctx, program, file, hex.EncodeToString(in))}
	a.cmd.Stderr = os.Stderr
	var err error
	if a.orders, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	a.lines = bufio.NewScanner(out)
	if !a.lines.Scan() || a.lines.Text() != "ready" {
		a.stop()
		return nil, fmt.Errorf("the wasmtime arm said %q: %w", a.lines.Text(), a.lines.Err())
	}
	return a, nil
}

// calls makes n calls, each in an instance of its own, and returns what each took in microseconds.
func (a *wasmtimeArm) calls(n int) ([]float64, error) {
	if _, err := fmt.Fprintln(a.orders, n); err != nil {
		return nil, err
	}
	if !a.lines.Scan() {
		return nil, fmt.Errorf("the wasmtime arm has ended: %w", a.lines.Err())
	}
	fields := strings.Fields(a.lines.Text())
	if len(fields) != n+1 {
		return nil, fmt.Errorf("the wasmtime arm said %q", a.lines.Text())
	}
	answer, err := hex.DecodeString(fields[n])
	if err != nil {
		return nil, err
	}
	var got out
	if err := value.Decode(answer, &got); err != nil || got.N != 2 {
		return nil, fmt.Errorf("the guest answered %+v: %w", got, err)
	}
	var took []float64
	for _, f := range fields[:n] {
		ns, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return nil, err
		}
		took = append(took, ns/1e3)
	}
	return took, nil
}

// stop ends the process.
func (a *wasmtimeArm) stop() {
	a.orders.Close()
	a.cmd.Wait() // how it ended has been told
}
