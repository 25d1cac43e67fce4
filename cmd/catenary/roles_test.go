package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/internal/testkit"
)

// A gateway and a node that do not share a store are told so: when they start, and when somebody deploys.
func TestRoles_EachWithAStoreOfItsOwn(t *testing.T) {
	t.Parallel()
	stage.prepare(t)
	node := testkit.Serve(t, "--role", "node", "--data", t.TempDir())
	gateway := testkit.Serve(t, "--role", "gateway", "--node", node.URL, "--data", t.TempDir())
	for role, s := range map[string]*testkit.Server{"node": node, "gateway": gateway} {
		if talk := s.Talk(); !strings.Contains(talk, "level=WARN") || !strings.Contains(talk, "no --store") || !strings.Contains(talk, "role="+role) {
			t.Errorf("the %s does not warn:\n%s", role, talk)
		}
	}
	_, stderr := testkit.Run(t, exitFailed, "deploy", "--server", gateway.URL, stage.project)
	for _, want := range []string{"not found", node.URL + " does not see what is deployed here", "the same --store"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("the deploy does not say %q:\n%s", want, stderr)
		}
	}
}

// What a server needs and can't reach makes it not ready, and the reply names it.
func TestRoles_Readiness(t *testing.T) {
	t.Parallel()
	store := filepath.Join(t.TempDir(), "store")
	node := testkit.Serve(t, "--role", "node", "--store", store, "--data", t.TempDir())
	gateway := testkit.Serve(t, "--role", "gateway", "--node", node.URL, "--store", store, "--data", t.TempDir())
	if strings.Contains(gateway.Talk(), "no --store") {
		t.Error("a gateway with a store warns that it has none")
	}
	ready := func(s *testkit.Server, want int, texts ...string) {
		t.Helper()
		var said string
		testkit.Eventually(t, "the right /readyz", func() bool {
			resp, err := http.Get(s.URL + "/readyz")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			said = string(body)
			return resp.StatusCode == want
		})
		for _, text := range texts {
			if !strings.Contains(said, text) {
				t.Errorf("/readyz says %q, want %q in it", said, text)
			}
		}
	}
	ready(node, http.StatusOK, "ready")
	ready(gateway, http.StatusOK, "ready")

	away := store + "-away"
	if err := os.Rename(store, away); err != nil {
		t.Fatal(err)
	}
	ready(node, http.StatusServiceUnavailable, "not ready: the store "+store+" is not reachable")
	ready(gateway, http.StatusServiceUnavailable, "not ready: the store "+store+" is not reachable")
	if err := os.Rename(away, store); err != nil {
		t.Fatal(err)
	}
	ready(node, http.StatusOK)
	ready(gateway, http.StatusOK)

	node.Kill(t)
	ready(gateway, http.StatusServiceUnavailable, "not ready: the node "+node.URL+" is not reachable", "connection refused")
}
