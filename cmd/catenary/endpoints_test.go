package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/gpu/openai/openaitest"
	"github.com/catenary-run/catenary/internal/project"
	"github.com/catenary-run/catenary/internal/testkit"
)

// endpointKey must be nowhere but in the environment and in requests.
const endpointKey = "sk-secret-7Qx"

// endpointProject writes a project whose model is that of the server at url.
func endpointProject(t *testing.T, url string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	writeFile(t, filepath.Join(dir, project.FileName), fmt.Sprintf(`
functions:
  - {name: answer, kind: wasm, source: %s/examples/functions/answer, limits: {mem: 64MiB, time: 50s}, uses: {models: [llm]}}
models:
  - {name: llm, engine: openai, url: %q, model: %s}
chains:
  - {name: ask, file: ask.yaml}
`, testkit.Root(t), url, openaitest.Model))
	writeFile(t, filepath.Join(dir, "ask.yaml"), "chain: ask\nsteps:\n  - call: answer\n")
	testkit.Run(t, exitOK, "build", dir)
	return dir
}

// serveEndpoints starts a server with an endpoints file, the key in its environment, and no engine of its own.
func serveEndpoints(t *testing.T, data, file string, flags ...string) *testkit.Server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "endpoints.yaml")
	writeFile(t, path, file)
	cmd := exec.Command(testkit.Catenary(t), "serve", "-v", "--addr", "127.0.0.1:0", "--data", data, "--endpoints", path)
	cmd.Args = append(cmd.Args, flags...)
	cmd.Env = append(os.Environ(), "TEST_MODEL_KEY="+endpointKey)
	return testkit.ServeCmd(t, cmd)
}

// asked is a question to the chain ask.
func asked(text string) string { return fmt.Sprintf(`{"text":%q,"confidence":1}`, text) }

// A chain whose model is somewhere else is deployed and run as any other, and the key shows nowhere.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	far := httptest.NewServer(&openaitest.Server{Words: 5, Key: endpointKey})
	defer far.Close()
	url := far.URL + "/v1"
	dir, data := endpointProject(t, url), t.TempDir()
	s := serveEndpoints(t, data, fmt.Sprintf("endpoints:\n  - {url: %q, key_env: TEST_MODEL_KEY, slots: 2}\n", url))
	var told strings.Builder
	tell := func(stdout, stderr string) string {
		told.WriteString(stdout + stderr)
		return stdout + stderr
	}
	tell(testkit.Run(t, exitOK, "deploy", "--server", s.URL, dir))
	if got := tell(testkit.Run(t, exitOK, "run", "--server", s.URL, "ask", "--in", asked("what colour is the sky"))); !strings.Contains(got, "word word word word word") {
		t.Errorf("the answer is %q", got)
	}
	if got := tell(testkit.Run(t, exitOK, "pools", "--server", s.URL)); !strings.Contains(got, "model on "+url) || !strings.Contains(got, "hot") {
		t.Errorf("pools:\n%s", got)
	}
	for prompt, want := range map[string]string{
		openaitest.Cut:            "unavailable",
		openaitest.Nonsense:       "unavailable",
		openaitest.Status + "401": "unavailable",
		openaitest.Status + "429": "queue_full",
		openaitest.Status + "500": "unavailable",
	} {
		r := post(t, s, "ask", "application/json", []byte(asked(prompt)))
		wantError(t, r, r.status, want, "answer", "model llm: ", url)
		told.WriteString(r.body)
	}
	if got := tell(testkit.Run(t, exitOK, "run", "--server", s.URL, "ask", "--in", asked("and now"))); !strings.Contains(got, "word") {
		t.Errorf("after all faults: %q", got)
	}
	told.WriteString(s.Talk())
	if strings.Contains(told.String(), endpointKey) {
		t.Errorf("the key was told:\n%s", told.String())
	}
	s.Stop(t)
	for _, folder := range []string{data, dir} {
		if err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			if bytes.Contains(content, []byte(endpointKey)) {
				t.Errorf("the key is in %s", path)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// What keeps an endpoint from answering is said by deploy, with its remedy.
func TestEndpoints_DeployTriesThem(t *testing.T) {
	t.Parallel()
	far := httptest.NewServer(&openaitest.Server{Words: 5, Key: endpointKey})
	url := far.URL + "/v1"
	dir := endpointProject(t, url)
	s := serveEndpoints(t, t.TempDir(), "endpoints: []\n")
	_, talk := testkit.Run(t, exitFailed, "deploy", "--server", s.URL, dir)
	if !strings.Contains(talk, "give "+url+" a key_env or a key_file in the file of catenary serve --endpoints") {
		t.Errorf("without a key: %s", talk)
	}
	far.Close()
	other := serveEndpoints(t, t.TempDir(), "endpoints: []\n")
	_, talk = testkit.Run(t, exitFailed, "deploy", "--server", other.URL, dir)
	if !strings.Contains(talk, url) || !strings.Contains(talk, "connection refused") {
		t.Errorf("without a server: %s", talk)
	}
}

// A server that the node knows how to start is started by need, stopped while nobody asks, said to have crashed, and gone
// with the node.
func TestEndpoints_Command(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := lis.Addr().String()
	lis.Close()
	url := "http://" + addr + "/v1"
	dir := endpointProject(t, url)
	s := serveEndpoints(t, t.TempDir(), fmt.Sprintf(`
endpoints:
  - url: %q
    key_env: TEST_MODEL_KEY
    command: [%q, endpoint, -addr, %q, -key-env, TEST_MODEL_KEY]
    env: [TEST_MODEL_KEY]
    start: 1m
`, url, self, addr), "--idle", "300ms")
	endpoints := func() (found []testkit.Process) {
		for _, p := range s.Descendants(t) {
			if slices.Contains(p.Args, "endpoint") {
				found = append(found, p)
			}
		}
		return found
	}
	if found := endpoints(); len(found) != 0 {
		t.Errorf("started before anybody asked: %v", found)
	}
	testkit.Run(t, exitOK, "deploy", "--server", s.URL, dir)
	if got, _ := testkit.Run(t, exitOK, "run", "--server", s.URL, "ask", "--in", asked("what colour is the sky")); !strings.Contains(got, "word word word") {
		t.Errorf("the answer is %q", got)
	}
	if found := endpoints(); len(found) != 1 {
		t.Errorf("processes: %v", found)
	}
	testkit.Eventually(t, "the model to be parked", func() bool { return pools(t, s).Models[0].Tier == "parked" })
	r := post(t, s, "ask", "application/json", []byte(asked(openaitest.Crash)))
	wantError(t, r, http.StatusServiceUnavailable, "unavailable", "answer", "model llm: ", "exit status 3: CUDA error")
	if r := post(t, s, "ask", "application/json", []byte(asked("again"))); r.status != http.StatusOK {
		t.Errorf("after the crash: %+v", r)
	}
	s.Stop(t) // and no child may be left
	for _, line := range []string{"endpoint started", `line="started with key [key]"`, "endpoint ended"} {
		if !strings.Contains(s.Talk(), line) {
			t.Errorf("the log does not say %q", line)
		}
	}
	if strings.Contains(s.Talk(), endpointKey) {
		t.Error("the key is in the log")
	}
}

// The faults of an endpoints file are told at the start, with their places.
func TestEndpoints_File(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key", "endpoints:\n  - {url: \"http://h/v1\", key: sk-1}\n", `e.yaml:2:26: unknown key "key"`},
		{"no url", "endpoints:\n  - {slots: 3}\n", "e.yaml:2:5: url: write it as"},
		{"two keys", "endpoints:\n  - {url: \"http://h/v1\", key_env: K, key_file: f}\n", "e.yaml:2:11: endpoint http://h/v1: a key is in a variable of the environment or in a file"},
		{"slots", "endpoints:\n  - {url: \"http://h/v1\", slots: 65}\n", "e.yaml:2:11: endpoint http://h/v1: slots is not within"},
		{"no command", "endpoints:\n  - {url: \"http://h/v1\", env: [A]}\n", "e.yaml:2:11: endpoint http://h/v1: it has no command that could be started"},
		{"empty command", "endpoints:\n  - {url: \"http://h/v1\", command: [\"\"]}\n", "e.yaml:2:11: endpoint http://h/v1: its command is empty"},
		{"twice", "endpoints:\n  - {url: \"http://h/v1\"}\n  - {url: \"http://h/v1\"}\n", "e.yaml:3:11: endpoint http://h/v1 is there twice: the first is at "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "e.yaml")
			writeFile(t, path, tt.text)
			if _, err := loadEndpoints(path); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "sk-1") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "e.yaml")
	writeFile(t, path, "endpoints:\n  - {url: \"http://h/v1\", key_file: keys/one}\n")
	all, err := loadEndpoints(path)
	if err != nil || len(all) != 1 || all[0].Key.File != filepath.Join(filepath.Dir(path), "keys/one") {
		t.Errorf("got %+v, %v", all, err)
	}
}
