// Command gpucheck measures on a real device what everything else about GPUs only proves on a fake one: that memory which was
// parked comes back with the right bytes, and how fast. It is one file that needs nothing but NVIDIA's driver, and goes
// through the same [cuda.Space] as the runtime.
//
//	make gpu-check               builds .build/gpu-check, the folder to copy, and runs it here
//	./gpu-check -sizes 1GB       on the machine with the device: one size only
//
// The arms of a check take turns, so that whatever disturbs the machine disturbs all of them alike. What the machine has no room
// for is left out, and the JSON says why. It exits with 1 if bytes are wrong or a call fails, with 2 for wrong usage, and with 3
// where there is no device. A goal that is missed is reported, and no failure.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/cuda"
	"github.com/catenary-run/catenary/internal/samples"
)

// Exit codes besides 0.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNoDevice    = 3
	exitInterrupted = 130
)

// options are the flags.
type options struct {
	driver  string // folder of libcuda.so.1; empty: where the system keeps it
	device  int
	json    string
	sizes   sizes
	repeats int
	cycles  int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var err error
	if len(args) > 0 && args[0] == holdArg {
		err = hold(args[1:], stdin, stdout)
	} else {
		opts, usage := parse(args, stderr)
		if errors.Is(usage, flag.ErrHelp) {
			return 0
		}
		if usage != nil {
			return exitUsage
		}
		err = checkAll(ctx, opts, stdout)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNoDriver):
		fmt.Fprintf(stderr, "gpu-check: %v\nNothing was checked. Copy the folder %s to a machine with an NVIDIA GPU and driver 570 or newer, and run ./gpu-check there.\n",
			err, folder())
		return exitNoDevice
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "gpu-check: interrupted")
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "gpu-check:", err)
	return exitFailed
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{sizes: sizes{256e6, 1e9, 16e9}}
	flags := flag.NewFlagSet("gpu-check", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.driver, "driver", "", "the `folder` of libcuda.so.1, if it is not where the system keeps libraries")
	flags.IntVar(&o.device, "device", 0, "the `index` of the device")
	flags.StringVar(&o.json, "json", "gpu-check.json", "the `file` to write")
	flags.Var(&o.sizes, "sizes", "the `sizes` of the models that are woken, such as 256MB,1GB")
	flags.IntVar(&o.repeats, "repeats", 20, "how often each arm is measured; with fewer than 20 it is only a try")
	flags.IntVar(&o.cycles, "cycles", 200, "how often a model is parked and woken to see whether anything drifts")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: gpu-check [flags]\nchecks and measures the parking of models on this machine's NVIDIA GPU, and writes gpu-check.json")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 || o.repeats < 1 || o.cycles < 1 {
		flags.Usage()
		return o, errors.New("wrong usage")
	}
	return o, nil
}

// folder is where this program lies, as far as that is known.
func folder() string {
	path, err := os.Executable()
	if err != nil {
		return "of gpu-check"
	}
	return filepath.Dir(path)
}

// errNoDriver is what the error wraps if there is nothing to check.
var errNoDriver = errors.New("nothing to check")

// checkAll runs every check that the machine has room for, prints the figures and writes the file. The error is that of the first
// check that failed; those after it run all the same unless the device itself has failed.
func checkAll(ctx context.Context, o options, stdout io.Writer) error {
	l, err := open(o)
	if errors.Is(err, functions.ErrNoDevice) {
		return fmt.Errorf("%w: %w", errNoDriver, err)
	}
	if err != nil {
		return err
	}
	r := newReport(l)
	fmt.Fprintf(stdout, "%s, CUDA %s\n", r.Device.Name, r.Device.CUDA)
	var failed error
	for _, c := range l.checks() {
		rec := &recorder{Set: samples.Set{Bench: c.name}}
		switch err := l.lost; {
		case err != nil:
			rec.leaveOut("", "the device failed before: %v", err)
		default:
			err = c.run(ctx, rec)
			if errors.Is(err, functions.ErrMemoryLimit) {
				rec.Clear()
				rec.leaveOut("", "%v", err)
			} else if err != nil {
				rec.Clear()
				err = fmt.Errorf("%s: %w", c.name, err)
				r.Faults = append(r.Faults, err.Error())
				failed = errors.Join(failed, err)
				if _, ofCUDA := errors.AsType[*cuda.Error](err); ofCUDA {
					l.lost = err
				}
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rec.print(stdout, c.doc)
		r.Rows = append(r.Rows, rec.Rows()...)
		r.LeftOut = append(r.LeftOut, rec.left...)
	}
	if l.lost == nil {
		failed = errors.Join(failed, l.close())
	}
	r.Host.HugePages = l.huge
	r.Device.Link = link(l.device.Bus)
	r.judge()
	r.print(stdout)
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return errors.Join(failed, os.WriteFile(o.json, append(data, '\n'), 0o644))
}
