package main

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/catenary-run/catenary/cmd/catenary/testdata/contract"
	"github.com/catenary-run/catenary/internal/testkit"
)

// later makes a request in the background; the func that it returns waits for the reply.
func later(t *testing.T, f func() reply) func() reply {
	t.Helper()
	var r reply
	var wg sync.WaitGroup
	wg.Go(func() { r = f() })
	t.Cleanup(wg.Wait)
	return func() reply { wg.Wait(); return r }
}

// one returns the only process of a list.
func one(t *testing.T, what string, found []testkit.Process) testkit.Process {
	t.Helper()
	if len(found) != 1 {
		t.Fatalf("the server has %d %s, want 1: %v", len(found), what, found)
	}
	return found[0]
}

func TestFault_PluginKilledWhileIdle(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for range 3 {
		wellHelper(t, s)
		one(t, "plugins", plugins(t, s)).Kill(t)
		// Either the pool has seen it, or the call tells: it never hangs, and nothing else is wrong.
		if r := job(t, s, "assist", contract.Job{}); r.status != http.StatusOK {
			wantError(t, r, 503, "unavailable", "help", "helper")
		}
		wellHelper(t, s)
	}
}

func TestFault_PluginKilledInACall(t *testing.T) {
	t.Parallel()
	s := serve(t)
	call := later(t, func() reply { return job(t, s, "assist", contract.Job{Do: "wait"}) })
	untilBusy(t, s, "helper", 1)
	killed := one(t, "plugins", plugins(t, s))
	killed.Kill(t)
	wantError(t, call(), 503, "unavailable", "help", "chain assist", fmt.Sprintf("helper-%d", killed.PID), "killed")
	wellHelper(t, s)
	if now := one(t, "plugins", plugins(t, s)); now.PID == killed.PID {
		t.Errorf("process %d serves after it was killed", now.PID)
	}
}

func TestFault_WorkerKilledWhileIdle(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for range 3 {
		wellModel(t, s)
		one(t, "workers", workers(t, s)).Kill(t)
		if r := ask(t, s); r.status != http.StatusOK {
			wantError(t, r, 503, "unavailable", "answer")
		}
		wellModel(t, s)
	}
}

// A worker that dies in a generation fails the calls that it served with an error that says to call again. When it is
// killed depends on nothing but that a lease is held.
func TestFault_WorkerKilledInACall(t *testing.T) {
	t.Parallel()
	s := serve(t)
	wellModel(t, s)
	failed := 0
	for range 50 {
		const callers = 8 // one at a time generates, so that the model is in use for a while
		var calls []func() reply
		for range callers {
			calls = append(calls, later(t, func() reply { return ask(t, s) }))
		}
		testkit.Eventually(t, "a lease on the model", func() bool {
			return pools(t, s).Models[0].Leases > 0
		})
		for _, w := range workers(t, s) {
			w.Kill(t)
		}
		for _, call := range calls {
			r := call()
			if r.status == http.StatusOK {
				continue
			}
			failed++
			wantError(t, r, 503, "unavailable", "answer", "chain ask", "llm")
		}
		wellModel(t, s)
		if failed > 0 || t.Failed() {
			break
		}
	}
	if failed == 0 {
		t.Error("no call failed though the worker was killed while the model was leased")
	}
}

// A caller that goes away frees what its run held.
func TestFault_CallerGone(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := job(t, s, "assist", contract.Job{Do: "wait"}, "Connect-Timeout-Ms", "100")
	wantError(t, r, 504, "deadline", "help")
	untilBusy(t, s, "helper", 0)
	wellHelper(t, s)
}
