// Command bench measures Catenary against its peers, and prints what docs/benchmarks.md quotes.
//
//	go run ./internal/bench wake              one benchmark, as a table
//	go run ./internal/bench -json out.json all  every one, and its rows as JSON
//
// The arms of a benchmark take turns in one process, so that a noisy machine disturbs all of them alike: quote ratios,
// not times. Each row is {bench, arm, unit, n, min, median, p99}.
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
	"strings"
	"syscall"

	"github.com/catenary-run/catenary/internal/samples"
)

// bench is one benchmark: run records samples of each of its arms.
type bench struct {
	name string
	doc  string
	run  func(ctx context.Context, rec *recorder) error
}

func benches() []bench {
	return []bench{
		{"wake", "a Go guest with 100 ms of start-up: parked and cold, against plain wazero", benchWake},
		{"reset", "a call that finds fresh state, back to back: reset in place, against new instances and against none", benchReset},
		{"hop", "what a step adds to a chain: WASM and plugin steps, against channels and against services behind an orchestrator", benchHop},
		{"load", "calls back to back with a typed struct of 1 KB: reset in a pool of two, never reset, and encoding/json in the guest", benchLoad},
		{"batch", "tokens per second of 1, 4 and 16 generations at once: in the engine, through the runtime, and in a bare loop over the same C calls", benchBatch},
		{"cancel", "from the cancellation of streams until all that they held is free", benchCancel},
		{"path", "five guests in a row that start in 50 to 800 ms: woken at once, against step by step", benchPath},
		{"voice", "the voice chain: cold and warm, each step's share, memory", benchVoice},
		{"talk", "a conversation in real time: streams against step by step, each step's share, interruptions", benchTalk},
		{"confidence", "false accepts and refusals of the voice chain's route over 40 questions and 10 nonsense phrases", benchConfidence},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == childArg {
		return child(ctx)
	}
	if len(args) > 0 && args[0] == peerArg {
		return echoService()
	}
	if len(args) > 0 && args[0] == pluginArg {
		servePlugin()
		return nil
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	jsonFile := flags.String("json", "", "write the rows to this `file`, too")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: bench [-json FILE] NAME... | all")
		for _, b := range benches() {
			fmt.Fprintf(stderr, "  %-12s %s\n", b.name, b.doc)
		}
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return errors.New("name a benchmark")
	}
	wanted := flags.Args()
	var rows []samples.Row
	for _, b := range benches() {
		if !contains(wanted, b.name) {
			continue
		}
		rec := &recorder{Set: samples.Set{Bench: b.name}, out: stdout}
		fmt.Fprintf(stdout, "%s: %s\n", b.name, b.doc)
		if err := b.run(ctx, rec); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		rec.print()
		rows = append(rows, rec.Rows()...)
	}
	if len(rows) == 0 {
		flags.Usage()
		return fmt.Errorf("no benchmark is called %s", strings.Join(wanted, " or "))
	}
	if *jsonFile == "" {
		return nil
	}
	data, err := json.MarshalIndent(rows, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(*jsonFile, append(data, '\n'), 0o644)
}

func contains(wanted []string, name string) bool {
	for _, w := range wanted {
		if w == name || w == "all" {
			return true
		}
	}
	return false
}
