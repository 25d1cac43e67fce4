package wasm

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/wasm/testdata/counter/contract"
)

// counter builds the guest counter.
func counter(t testing.TB) (string, *functions.Manifest) {
	t.Helper()
	artifact, m := buildGuest(t, "counter")
	contractOf(t, &m, contract.Counter)
	return artifact, &m
}

func count(t testing.TB, code sandbox.Code, in contract.In) contract.Out {
	t.Helper()
	items, err := serve(t, code, in)
	if err != nil {
		t.Fatal(err)
	}
	var out contract.Out
	if err := value.Decode(items[0].Value, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestImage_EveryCallIsTheFirst(t *testing.T) {
	var log bytes.Buffer
	d := goDriver(t, slog.New(slog.NewTextHandler(&log, nil)))
	artifact, m := counter(t)
	code, img := load(t, d, m, artifact)
	if !img.Captured {
		t.Fatalf("not captured: %s", img.Why)
	}
	seen := map[uint64]bool{}
	orders := map[string]bool{}
	const n = 1000
	for i := range n {
		out := count(t, code, contract.In{})
		if out.Calls != 1 || out.Starts != 1 {
			t.Fatalf("call %d finds %d calls and %d starts", i, out.Calls, out.Starts)
		}
		if out.Age < 0 {
			t.Fatalf("the clock ran backwards: %s since the start", out.Age)
		}
		for k, r := range out.Randoms {
			if seen[r] {
				t.Fatalf("call %d: random source %d repeats a number", i, k)
			}
			seen[r] = true
		}
		orders[out.MapOrder] = true
	}
	// Go begins a range over this map at one of 64 places.
	if len(orders) < 32 {
		t.Errorf("%d orders of a map in %d calls", len(orders), n)
	}
	if lines := strings.Count(log.String(), "counter starts"); lines != 1 {
		t.Errorf("the start-up line was logged %d times", lines)
	}
}

func TestImage_Off(t *testing.T) {
	var log bytes.Buffer
	d := goDriver(t, slog.New(slog.NewTextHandler(&log, nil)))
	artifact, m := counter(t)
	m.Image = "off"
	code, img := load(t, d, m, artifact)
	if img.Captured || !strings.Contains(img.Why, "image: off") {
		t.Errorf("captured %v, why %q", img.Captured, img.Why)
	}
	for range 3 {
		if out := count(t, code, contract.In{}); out.Calls != 1 || out.Starts != 1 {
			t.Errorf("%d calls and %d starts", out.Calls, out.Starts)
		}
	}
	if lines := strings.Count(log.String(), "counter starts"); lines != 4 {
		t.Errorf("the start-up line was logged %d times, want one at Prepare and one for each instance", lines)
	}
}

func TestClock_SleepWaitsAndEnds(t *testing.T) {
	artifact, m := counter(t)
	code, _ := load(t, goDriver(t, nil), m, artifact)
	if out := count(t, code, contract.In{Sleep: 20 * time.Millisecond}); out.Slept < 20*time.Millisecond {
		t.Errorf("slept %s of 20ms", out.Slept)
	}
	inst, err := code.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer inst.Close()
	v, err := value.Encode(contract.In{Sleep: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := inst.Serve(ctx, functions.Items(functions.Item{Value: v}), functions.SinkFunc(nil), discardHost()); err != context.DeadlineExceeded {
		t.Errorf("got %v, want the context's own error", err)
	}
}
