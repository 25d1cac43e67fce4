package main

import (
	"strings"
	"testing"

	"github.com/catenary-run/catenary/cmd/catenary/testdata/contract"
	"github.com/catenary-run/catenary/internal/testkit"
)

// A guest's global is as its start-up left it in each call, its random numbers are not, and its start-up runs once.
func TestGuest_EveryCallIsTheFirst(t *testing.T) {
	t.Parallel()
	stage.prepare(t)
	// A fresh data folder: the guest is prepared here, so that its start-up is in this server's log.
	s := testkit.Serve(t, "--data", t.TempDir(), "--llama-lib", testkit.LlamaLib(t))
	testkit.Run(t, exitOK, "deploy", "--server", s.URL, stage.project)
	draws := map[string]bool{}
	for i := range 1000 {
		got := report(t, job(t, s, "count", contract.Job{}))
		if got.Count != 1 {
			t.Fatalf("call %d: the guest's counter is %d, want 1", i, got.Count)
		}
		if got.Draw == "" || draws[got.Draw] {
			t.Fatalf("call %d: the guest drew %q, for the second time", i, got.Draw)
		}
		draws[got.Draw] = true
	}
	if n := strings.Count(s.Talk(), contract.StartLine); n != 1 {
		t.Errorf("the guest's start-up line is logged %d times, want once", n)
	}
}
