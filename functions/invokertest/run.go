package invokertest

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// Factory returns an Invoker that serves s. What it starts ends by t.Cleanup.
type Factory func(t *testing.T, s Setup) functions.Invoker

// Run checks the Invokers that factory makes. Each test gets one of its own.
func Run(t *testing.T, factory Factory) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Factory)
	}{
		{"Echo", testEcho},
		{"Stream", testStream},
		{"ManyIn", testManyIn},
		{"Blobs", testBlobs},
		{"Errors", testErrors},
		{"ErrorAfterItems", testErrorAfterItems},
		{"SourceFails", testSourceFails},
		{"SinkFails", testSinkFails},
		{"BackPressureOut", testBackPressureOut},
		{"BackPressureIn", testBackPressureIn},
		{"FullDuplex", testFullDuplex},
		{"Turns", testTurns},
		{"TurnsPassAFullInput", testTurnsPassAFullInput},
		{"Cancel", testCancel},
		{"CancelWhileFull", testCancelWhileFull},
		{"Deadline", testDeadline},
		{"TimeLeft", testTimeLeft},
		{"Timing", testTiming},
		{"Wake", testWake},
		{"Unknown", testUnknown},
		{"Concurrent", testConcurrent},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, factory) })
	}
	t.Run("NothingLeft", func(t *testing.T) { nothingLeft(t) })
}

// serve makes an Invoker of one function. When the test ends it waits until the function has returned as often as it
// was called.
func serve(t *testing.T, factory Factory, body func(ctx context.Context, in functions.Source, out functions.Sink) error) (functions.Invoker, functions.Ref) {
	t.Helper()
	f := New("under-test", body)
	return factory(t, Setup{Functions: []Function{tracked(t, f)}}), f.Manifest.Ref()
}

// tracked returns f with its calls counted; the test ends when all of them have.
func tracked(t *testing.T, f Function) Function {
	var calls sync.WaitGroup
	t.Cleanup(calls.Wait)
	body := f.Serve
	f.Serve = func(ctx context.Context, in functions.Source, out functions.Sink) error {
		calls.Add(1)
		defer calls.Done()
		return body(ctx, in, out)
	}
	return f
}

// echo sends back what it gets.
func echo(ctx context.Context, in functions.Source, out functions.Sink) error {
	for {
		it, err := in.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := out.Send(ctx, it); err != nil {
			return err
		}
	}
}

// call invokes ref and returns what it yields.
func call(ctx context.Context, inv functions.Invoker, ref functions.Ref, in ...functions.Item) ([]functions.Item, functions.Timing, error) {
	var got []functions.Item
	timing, err := inv.Invoke(ctx, functions.Call{Ref: ref, Chain: "suite", Step: "step", Run: "1"}, functions.Items(in...),
		functions.SinkFunc(func(_ context.Context, it functions.Item) error {
			got = append(got, it)
			return nil
		}))
	return got, timing, err
}

// text returns a CBOR text of at most 23 bytes as an item.
func text(s string) functions.Item {
	if len(s) > 23 {
		panic("invokertest: text is too long")
	}
	return functions.Item{Value: append([]byte{0x60 | byte(len(s))}, s...)}
}

// nothingLeft waits until no goroutine runs the code of an Invoker or of this suite any more. It gives up, with their
// stacks, only after a time that no machine needs.
func nothingLeft(t *testing.T) {
	const patience = 2 * time.Minute
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		left := leftovers()
		if len(left) == 0 {
			return
		}
		if time.Since(begin) > patience {
			t.Fatalf("%d goroutines are left:\n\n%s", len(left), strings.Join(left, "\n\n"))
		}
	}
}

func leftovers() []string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for i, stack := range strings.Split(string(buf), "\n\n") {
		// The first is this goroutine; tests that run or wait for us have tRunner at their root.
		if i > 0 && strings.Contains(stack, "github.com/catenary-run/catenary/") && !strings.Contains(stack, "testing.tRunner") && !strings.Contains(stack, "testing.(*T).Run") {
			left = append(left, stack)
		}
	}
	return left
}
