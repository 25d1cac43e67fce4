// Command catenary runs chains of small sandboxed functions as serverless endpoints.
//
// It is the one binary of Catenary: server, client and build in one. It holds flags and wiring, nothing else. See
// `catenary --help`, or the README.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/catenary-run/catenary/sandbox/plugin"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// env is what every command gets besides its flags: data goes to stdout, talk to stderr.
type env struct {
	ctx    context.Context
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	log    *slog.Logger
}

// cli is the whole command line.
type cli struct {
	Verbose     bool        `help:"Log each step, too." short:"v"`
	VersionFlag versionFlag `name:"version" help:"Print the version."`

	Serve   serveCmd   `cmd:"" help:"Run a server: doors, pools and the model runtime, or a part of them."`
	Build   buildCmd   `cmd:"" help:"Build the functions, models and chains of a folder with a catenary.yaml."`
	Deploy  deployCmd  `cmd:"" help:"Send what build left in a folder to a server."`
	Run     runCmd     `cmd:"" help:"Run a chain once and print its answer."`
	Chains  chainsCmd  `cmd:"" help:"List the chains of a server."`
	Graph   graphCmd   `cmd:"" help:"Print a chain as a Mermaid diagram."`
	Pools   poolsCmd   `cmd:"" help:"List what a server holds of its functions and models."`
	Version versionCmd `cmd:"" help:"Print the version."`

	Worker      workerCmd      `cmd:"" hidden:""`
	PrepareWasm prepareWasmCmd `cmd:"" hidden:""`
}

// exitCode ends kong's own handling of --help without leaving the process.
type exitCode int

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exitCode:
			code = int(r)
		default:
			panic(r)
		}
	}()
	if len(args) > 0 && args[0] == confineName {
		// It has flags of its own, and what follows them belongs to the plugin.
		fmt.Fprintf(stderr, "catenary: %v\n", plugin.Confine(args[1:]))
		return exitFailed
	}
	var flags cli
	parser, err := kong.New(&flags,
		kong.Name("catenary"),
		kong.Description("Chains of small sandboxed functions - transcribe, then LLM, then TTS - as one serverless endpoint.\n\n"+
			"  catenary serve &\n  catenary build examples/voice && catenary deploy examples/voice\n  catenary run voice question.wav --out answer.wav"),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exitCode(code)) }),
		kong.UsageOnError(),
	)
	if err != nil {
		panic(err) // the structs above are wrong
	}
	cmd, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "catenary: %s\nTry catenary --help.\n", parseFault(err))
		return exitUsage
	}
	level := slog.LevelInfo
	if flags.Verbose {
		level = slog.LevelDebug
	}
	e := &env{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr, log: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))}
	err = cmd.Run(e)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "catenary: %v\nTry catenary %s --help.\n", err, cmd.Command())
		return exitUsage
	}
	fmt.Fprintf(stderr, "catenary: %v\n", err)
	if ctx.Err() != nil {
		return exitInterrupted
	}
	return exitFailed
}

// parseFault says what is wrong with the command line. What stands where a command should is no argument to whoever wrote
// it, as the parser calls it.
func parseFault(err error) string {
	text := err.Error()
	var fault *kong.ParseError
	if rest, ok := strings.CutPrefix(text, "unexpected argument "); ok && errors.As(err, &fault) && fault.Context.Selected() == nil {
		return "unknown command " + rest
	}
	return text
}

// errUsage marks a mistake in the command line that the parser can't see.
var errUsage = errors.New("wrong usage")
