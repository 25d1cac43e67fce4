package main

import (
	"bytes"
	"context"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/cmd/catenary/testdata/contract"
	"github.com/catenary-run/catenary/internal/testkit"
)

// sockets returns the sockets below dir.
func sockets(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeSocket != 0 {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// files returns the names of everything below dir.
func files(t *testing.T, dir string) []string {
	t.Helper()
	found := []string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if path != dir {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A server that is told to end leaves no process, no socket and no temporary file, in its data folder or elsewhere,
// whatever it did before: deploy, prepare, run, fail.
func TestExit_LeavesNothing(t *testing.T) {
	t.Parallel()
	stage.prepare(t)
	data, temp := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "temp")
	if err := os.Mkdir(temp, 0o777); err != nil {
		t.Fatal(err)
	}
	start := func() *testkit.Server {
		cmd := exec.Command(testkit.Catenary(t), "serve", "--addr", "127.0.0.1:0", "--data", data, "--llama-lib", testkit.LlamaLib(t))
		cmd.Env = append(os.Environ(), "TMPDIR="+temp)
		return testkit.ServeCmd(t, cmd)
	}
	use := func(s *testkit.Server) {
		wellGuest(t, s)
		wellHelper(t, s)
		wellEars(t, s)
		wellModel(t, s)
	}
	s := start()
	testkit.Run(t, exitOK, "deploy", "--server", s.URL, stage.project)
	use(s)
	s.Stop(t) // and checks that no process is left
	first := files(t, data)
	if left := sockets(t, data); len(left) > 0 {
		t.Errorf("sockets are left: %v", left)
	}

	// What the first one left is what a server needs; the second adds nothing, even if calls fail.
	s = start()
	use(s)
	for _, do := range []string{"trap", "fail"} {
		job(t, s, "count", contract.Job{Do: do})
	}
	job(t, s, "assist", contract.Job{Do: "exit"})
	use(s)
	s.Stop(t)
	if diff := cmp.Diff(first, files(t, data)); diff != "" {
		t.Errorf("the second run changed the data folder (-before +after):\n%s", diff)
	}
	if left := files(t, temp); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

// A run that is going on when the server is told to end completes; new ones are refused.
func TestExit_DrainLetsRunsEnd(t *testing.T) {
	t.Parallel()
	s := serve(t, "--drain", "10m") // it ends when the run has, not before
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // a plugin has a user of its own, who must see the file
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	signal := filepath.Join(dir, "go-on")
	call := later(t, func() reply { return job(t, s, "assist", contract.Job{Do: "wait", Path: signal}) })
	untilBusy(t, s, "helper", 1)
	s.Terminate(t)
	// Connections of their own, as a balancer has: the port is open until the run has ended.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	testkit.Eventually(t, "the server not to be ready", func() bool {
		resp, err := client.Get(s.URL + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	resp, err := client.Post(s.URL+"/chains/count", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new run: %s", resp.Status)
	}
	writeFile(t, signal, "")
	if got := report(t, call()); got.Count != 1 {
		t.Errorf("the run that was going on answered %v", got)
	}
	s.Stop(t) // and checks the exit code
}

// A run that outlasts the drain ends with an error that says so, and the server's exit code is 0 all the same.
func TestExit_DrainHasALimit(t *testing.T) {
	t.Parallel()
	s := serve(t, "--drain", "200ms")
	call := later(t, func() reply { return job(t, s, "assist", contract.Job{Do: "wait"}) })
	untilBusy(t, s, "helper", 1)
	s.Stop(t)
	wantError(t, call(), http.StatusServiceUnavailable, "unavailable", "help", "shutting down", "call again")
}

// Whatever a server that is killed leaves running ends with it, and the next one on its folder tidies up.
func TestExit_Killed(t *testing.T) {
	t.Parallel()
	flags := []string{"--data", stagedData(t), "--llama-lib", testkit.LlamaLib(t)}
	s := testkit.Serve(t, flags...)
	wellEars(t, s)
	wellModel(t, s)
	url, body := s.URL+"/chains/assist", encode(t, contract.Job{Do: "wait"})
	var call sync.WaitGroup
	call.Go(func() { // ends with the server
		_, _ = send(context.Background(), http.MethodPost, url, "application/json", bytes.NewReader(body))
	})
	untilBusy(t, s, "helper", 1)
	if p, w := len(plugins(t, s)), len(workers(t, s)); p != 2 || w != 1 {
		t.Fatalf("%d plugins and %d workers run, want 2 and 1", p, w)
	}
	s.Kill(t) // and waits until none of them is left
	call.Wait()

	s = testkit.Serve(t, flags...)
	wellGuest(t, s)
	wellHelper(t, s)
	wellEars(t, s)
	wellModel(t, s)
	s.Stop(t)
	if left := sockets(t, flags[1]); len(left) > 0 {
		t.Errorf("sockets are left: %v", left)
	}
}
