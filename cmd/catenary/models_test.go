package main

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/internal/testkit"
)

// Without the library a model is unavailable, with the remedy, and everything that does not need one works.
func TestModels_NoLibrary(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"no flag":      nil,
		"empty folder": {"--llama-lib", t.TempDir()},
		"no folder":    {"--llama-lib", filepath.Join(t.TempDir(), "nowhere")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testkit.Serve(t, append([]string{"--data", stagedData(t)}, flags...)...)
			if warned := strings.Contains(s.Talk(), "models will be unavailable"); warned != (flags != nil) {
				t.Errorf("a folder is given: %v, and the server warned at its start: %v", flags != nil, warned)
			}
			wantUnavailable(t, s) // before anybody has asked
			r := ask(t, s)
			if r.status != http.StatusServiceUnavailable && r.status != http.StatusBadRequest {
				t.Errorf("a chain that needs the model: status %d: %s", r.status, r.body)
			}
			wantError(t, r, r.status, "no_device", "answer", "llm", "--llama-lib", "@node-llama-cpp")
			wantUnavailable(t, s)
			wellGuest(t, s)
			wellHelper(t, s)
			wellEars(t, s)
		})
	}
}

// wantUnavailable checks how both forms of `pools` show the model.
func wantUnavailable(t *testing.T, s *testkit.Server) {
	t.Helper()
	stdout, _ := testkit.Run(t, exitOK, "pools", "--json", "--server", s.URL)
	var held struct {
		Models []struct{ Name, Tier, Why string }
	}
	if err := json.Unmarshal([]byte(stdout), &held); err != nil || len(held.Models) != 1 {
		t.Fatalf("pools --json: %v: %s", err, stdout)
	}
	if m := held.Models[0]; m.Name != "llm" || m.Tier != "unavailable" || !strings.Contains(m.Why, "--llama-lib") {
		t.Errorf("pools has the model as %+v, want it unavailable, with the remedy", m)
	}
	stdout, _ = testkit.Run(t, exitOK, "pools", "--server", s.URL)
	if !regexp.MustCompile(`(?m)^llm +model +unavailable .*--llama-lib`).MatchString(stdout) {
		t.Errorf("pools prints the model otherwise:\n%s", stdout)
	}
}
