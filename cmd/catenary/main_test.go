package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/catenary-run/catenary/cmd/catenary/testdata/contract"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
	"github.com/catenary-run/catenary/gpu/openai/openaitest"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sdk/client"
)

// The tests here run the real binary, built without the race detector, over loopback. Their own binary is an endpoint, too.

func TestMain(m *testing.M) {
	if runtime.GOOS != "linux" {
		fmt.Println("these tests run plugins and read /proc: Linux only")
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "endpoint" {
		os.Exit(openaitest.Main(os.Args[2:]))
	}
	code := m.Run()
	testkit.RemoveCatenary()
	stage.remove()
	os.Exit(code)
}

// stage is testdata/project, built and deployed once for all tests.
var stage staged

type staged struct {
	once    sync.Once
	dir     string // removed at the end
	project string // the built project
	data    string // the data folder of a server to which it was deployed
}

func (s *staged) prepare(t testing.TB) {
	t.Helper()
	s.once.Do(func() {
		dir, err := os.MkdirTemp("", "catenary-stage-")
		if err != nil {
			t.Fatal(err)
		}
		s.dir = dir
		project := filepath.Join(dir, "project")
		copyProject(t, "testdata/project", project)
		testkit.Run(t, exitOK, "build", project)
		data := filepath.Join(dir, "data")
		server := testkit.Serve(t, "--data", data, "--llama-lib", testkit.LlamaLib(t))
		testkit.Run(t, exitOK, "deploy", "--server", server.URL, project)
		server.Stop(t)
		s.project, s.data = project, data
	})
	if s.data == "" {
		t.Fatal("the project of all tests could not be deployed: see the first test that failed")
	}
}

func (s *staged) remove() {
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}

// copyProject copies a project and puts the repository's root in for ROOT.
func copyProject(t testing.TB, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(from, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no project at %s (%v)", from, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(to, filepath.Base(f)), strings.ReplaceAll(string(text), "ROOT", testkit.Root(t)))
	}
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// stagedData returns a copy of the staged data folder.
func stagedData(t testing.TB) string {
	t.Helper()
	stage.prepare(t)
	data := filepath.Join(t.TempDir(), "data")
	if msg, err := exec.Command("cp", "-a", stage.data, data).CombinedOutput(); err != nil {
		t.Fatalf("copy the data folder: %v: %s", err, msg)
	}
	return data
}

// serve starts a server on which the staged project is deployed, with all that it needs.
func serve(t testing.TB, flags ...string) *testkit.Server {
	t.Helper()
	return testkit.Serve(t, append([]string{"--data", stagedData(t), "--llama-lib", testkit.LlamaLib(t)}, flags...)...)
}

// reply is what a plain door answered.
type reply struct {
	status int
	body   string
	code   string // of the error, if it is one: Connect's
	text   string
	class  string // of the error: functions'
	step   string
}

// send makes a request and reads its whole reply. Its error is that of the connection.
func send(ctx context.Context, method, url, contentType string, body io.Reader, header ...string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return reply{}, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	r := reply{status: resp.StatusCode, body: string(got)}
	if resp.StatusCode < 400 {
		return r, nil
	}
	var wire struct {
		Code, Message string
		Details       []struct {
			Type  string
			Debug struct{ Code, Step string }
		}
	}
	if err := json.Unmarshal(got, &wire); err == nil {
		r.code, r.text = wire.Code, wire.Message
		for _, d := range wire.Details {
			if d.Type == "catenary.v1.Failure" {
				r.class, r.step = d.Debug.Code, d.Debug.Step
			}
		}
	}
	return r, nil
}

// post runs a chain by its plain URL.
func post(t testing.TB, s *testkit.Server, chain, contentType string, body []byte, header ...string) reply {
	t.Helper()
	r, err := send(t.Context(), http.MethodPost, s.URL+"/chains/"+chain, contentType, bytes.NewReader(body), header...)
	if err != nil {
		t.Fatalf("POST /chains/%s: %v", chain, err)
	}
	return r
}

// job runs a chain whose input is a contract.Job.
func job(t testing.TB, s *testkit.Server, chain string, j contract.Job, header ...string) reply {
	t.Helper()
	return post(t, s, chain, "application/json", encode(t, j), header...)
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// report checks that r is a contract.Report and returns it.
func report(t testing.TB, r reply) contract.Report {
	t.Helper()
	var got contract.Report
	if r.status != http.StatusOK || json.Unmarshal([]byte(r.body), &got) != nil {
		t.Fatalf("got status %d: %s", r.status, r.body)
	}
	return got
}

// wantError checks status, code and step of an error, and that its text has all parts.
func wantError(t testing.TB, r reply, status int, class, step string, parts ...string) {
	t.Helper()
	if r.status != status || r.class != class || r.step != step {
		t.Errorf("got status %d, class %q, step %q, want %d, %q, %q: %s", r.status, r.class, r.step, status, class, step, r.body)
	}
	for _, p := range parts {
		if !strings.Contains(r.text, p) {
			t.Errorf("the error %q does not say %q", r.text, p)
		}
	}
}

// wellGuest, wellHelper, wellEars and wellModel check that a part of the service answers rightly.
func wellGuest(t testing.TB, s *testkit.Server) {
	t.Helper()
	if got := report(t, job(t, s, "count", contract.Job{})); got.Count != 1 {
		t.Errorf("a call of the guest is number %d of its instance, want 1", got.Count)
	}
}

func wellHelper(t testing.TB, s *testkit.Server) {
	t.Helper()
	report(t, job(t, s, "assist", contract.Job{}))
}

func wellEars(t testing.TB, s *testkit.Server) {
	t.Helper()
	if r := post(t, s, "listen", "audio/wav", question(t)); r.status != http.StatusOK || !strings.Contains(r.body, `"text":"`+questionWords+`"`) {
		t.Errorf("listen: status %d: %s", r.status, r.body)
	}
}

func wellModel(t testing.TB, s *testkit.Server) {
	t.Helper()
	if r := ask(t, s); r.status != http.StatusOK || !strings.Contains(r.body, "sky") {
		t.Errorf("ask: status %d: %s", r.status, r.body)
	}
}

// ask runs the chain that asks the model.
func ask(t testing.TB, s *testkit.Server) reply {
	t.Helper()
	return post(t, s, "ask", "application/json", []byte(`{"text":"what colour is the sky","confidence":1}`))
}

// questionWords is what is heard in question.
const questionWords = "tell me a short story about a little dog who lost his ball"

func question(t testing.TB) []byte {
	t.Helper()
	wav, err := os.ReadFile(filepath.Join(testkit.Root(t), "examples/voice/questions/q01.wav"))
	if err != nil {
		t.Fatal(err)
	}
	return wav
}

// pools returns what the server holds.
func pools(t testing.TB, s *testkit.Server) *catenaryv1.PoolsResponse {
	t.Helper()
	c, err := client.New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	held, err := c.Pools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// untilBusy waits until n calls of the function run.
func untilBusy(t testing.TB, s *testkit.Server, function string, n int64) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("%d calls of %s to run", n, function), func() bool {
		var busy int64
		for _, f := range pools(t, s).Functions {
			if f.Name == function { // of any version
				busy += f.Busy
			}
		}
		return busy == n
	})
}

// plugins returns the server's processes that are plugins; workers those that hold models.
func plugins(t testing.TB, s *testkit.Server) []testkit.Process {
	t.Helper()
	return processes(t, s, func(args []string) bool { return strings.Contains(args[0], "/plugins/artifacts/") })
}

func workers(t testing.TB, s *testkit.Server) []testkit.Process {
	t.Helper()
	return processes(t, s, func(args []string) bool { return len(args) > 1 && args[1] == "worker" })
}

func processes(t testing.TB, s *testkit.Server, is func(args []string) bool) []testkit.Process {
	t.Helper()
	var found []testkit.Process
	for _, p := range s.Descendants(t) {
		if is(p.Args) {
			found = append(found, p)
		}
	}
	return found
}
