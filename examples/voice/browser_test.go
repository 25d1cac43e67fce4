package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/internal/spoken"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sdk/client"
)

// told is what testdata/browser.mjs prints.
type told struct {
	Fault  string   // that the page shows
	Faults []string // of its scripts
	Events []struct {
		Type string // audio or over
		Turn uint64
	}
	Log []struct {
		Side, Text string
		Turn       uint64
		Over       bool
	}
	SampleHz int
	Samples  []byte // that the speaker played since the interruption
}

// browse drives the page in Chromium.
func browse(t *testing.T, server *testkit.Server, page string) told {
	t.Helper()
	questions, err := filepath.Abs("questions")
	if err != nil {
		t.Fatal(err)
	}
	silence := filepath.Join(t.TempDir(), "silence.wav")
	samples := spoken.Silence(time.Second)
	if err := os.WriteFile(silence, append(wav.Header(spoken.SampleHz, 1, int64(len(samples))), samples...), 0o600); err != nil {
		t.Fatal(err)
	}
	arg, err := json.Marshal(map[string]string{
		"packages": testkit.NodeModules(t), "page": page, "server": strings.Replace(server.URL, "http:", "ws:", 1), "silence": silence,
		"first": filepath.Join(questions, "q01.wav"), "second": filepath.Join(questions, "q09.wav"),
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join("testdata", "browser.mjs"), string(arg))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node browser.mjs: %v (make setup installs Chromium and playwright-core)\n%s", err, stderr.String())
	}
	var got told
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return got
}

// inBrowser: the page of the example says a question as if it were spoken, plays the answer, hears somebody speak over
// it, and plays the next answer.
func inBrowser(t *testing.T, server *testkit.Server, c *client.Client, page string) {
	got := browse(t, server, page)
	if got.Fault != "" || len(got.Faults) > 0 {
		t.Errorf("the page shows %q, its scripts failed with %q", got.Fault, got.Faults)
	}
	var over bool
	audio := map[uint64]int{}
	for _, e := range got.Events {
		switch {
		case e.Type == "over" && (over || e.Turn != 0):
			t.Errorf("turn %d is over; want turn 0, once", e.Turn)
		case e.Type == "over":
			over = true
		case over && e.Turn == 0:
			t.Error("sound of turn 0, which is over")
		default:
			audio[e.Turn]++
		}
	}
	if !over || audio[0] == 0 || audio[1] == 0 {
		t.Errorf("turn 0 is over: %v; pieces of audio by turn: %v", over, audio)
	}
	lines := map[string]string{}
	for _, line := range got.Log {
		lines[line.Side] += line.Text + "\n"
		if line.Side == "said" && line.Over != (line.Turn == 0) {
			t.Errorf("the answer %q of turn %d is struck out: %v", line.Text, line.Turn, line.Over)
		}
	}
	if !strings.Contains(lines["heard"], "story") || !strings.Contains(lines["heard"], "capital of france") || !strings.Contains(lines["said"], "Paris") {
		t.Errorf("the page shows %q", lines)
	}
	heard, err := spoken.Listen(t.Context(), c, append(wav.Header(got.SampleHz, 1, int64(len(got.Samples))), got.Samples...))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(heard.Text, "capital of france") && !strings.Contains(heard.Text, "paris") {
		t.Errorf("the speaker said %q; want the second answer", heard.Text)
	}
	nothingLeft(t, server)
}

// otherSite: a page that the server does not know is refused, and says so.
func otherSite(t *testing.T, server *testkit.Server) {
	page := httptest.NewServer(http.FileServer(http.Dir("web")))
	defer page.Close()
	if got := browse(t, server, page.URL); got.Fault == "" || got.Events != nil {
		t.Errorf("got %+v, want a fault", got)
	}
	nothingLeft(t, server)
}
