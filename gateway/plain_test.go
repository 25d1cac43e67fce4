package gateway

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

func TestPlain(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxBody = 1 << 20 })
	file := string(tone(16000, 1600))
	for _, test := range []struct {
		name, chain, contentType, body string
		status                         int
		wantType, want                 string // of an error: its code
	}{
		{"JSON to text", "shout", "application/json", `"hi"`, 200, "text/plain; charset=utf-8", "HI"},
		{"text to text", "shout", "text/plain; charset=UTF-8", "hi", 200, "text/plain; charset=utf-8", "HI"},
		{"text into a struct", "split", "text/plain", "a b", 200, "application/x-ndjson", "{\"n\":0,\"word\":\"a\"}\n{\"n\":1,\"word\":\"b\"}\n"},
		{"JSON with charset", "split", "application/json; charset=utf-8", `{"text":"a"}`, 200, "application/x-ndjson", "{\"n\":0,\"word\":\"a\"}\n"},
		{"a stream of nothing", "split", "text/plain", " ", 200, "application/x-ndjson", ""},
		{"a stream of strings", "letters", "text/plain", "añb", 200, "text/plain; charset=utf-8", "añb"},
		{"audio to JSON", "measure", "audio/wav", file, 200, "application/json", "{\"bytes\":3244,\"dur\":100000000,\"sample_hz\":16000}\n"},
		{"audio of another type", "measure", "audio/x-wav", file, 200, "application/json", "{\"bytes\":3244,\"dur\":100000000,\"sample_hz\":16000}\n"},
		{"one audio", "sing", "text/plain", "h", 200, "audio/wav", string(tone(16000, 100))},
		{"joined audio", "sing", "text/plain", "hhh", 200, "audio/wav", string(tone(16000, 300))},
		{"no audio", "sing", "application/json", `""`, 204, "", ""},
		{"audio of two rates", "sing", "text/plain", "hl", 400, "", "failed_precondition"},

		{"unknown chain", "nope", "text/plain", "x", 404, "", "not_found"},
		{"a name that is none", "No!", "text/plain", "x", 400, "", "invalid_argument"},
		{"no type", "shout", "", "x", 415, "", "invalid_argument"},
		{"unknown type", "shout", "application/xml", "x", 415, "", "invalid_argument"},
		{"broken type", "shout", "text/", "x", 415, "", "invalid_argument"},
		{"audio for a string", "shout", "audio/wav", file, 415, "", "invalid_argument"},
		{"text for audio", "measure", "text/plain", "x", 415, "", "invalid_argument"},
		{"another charset", "shout", "text/plain; charset=latin1", "x", 415, "", "invalid_argument"},
		{"empty text", "shout", "text/plain", "", 400, "", "invalid_argument"},
		{"empty audio", "measure", "audio/wav", "", 400, "", "invalid_argument"},
		{"not a wav", "measure", "audio/wav", "OggS....", 400, "", "invalid_argument"},
		{"a cut wav", "measure", "audio/wav", file[:3000], 400, "", "invalid_argument"},
		{"not JSON", "shout", "application/json", "{", 400, "", "invalid_argument"},
		{"JSON of another type", "shout", "application/json", "3", 400, "", "invalid_argument"},
		{"text that is not UTF-8", "shout", "text/plain", "\xff", 400, "", "invalid_argument"},
		{"too large", "shout", "text/plain", strings.Repeat("x", 1<<20+1), 413, "", "resource_exhausted"},

		{"the function refuses", "shout", "text/plain", "refuse", 400, "", "failed_precondition"},
		{"the function traps", "shout", "text/plain", "trap", 500, "", "internal"},
		{"a cold start fails", "shout", "text/plain", "cold", 503, "", "unavailable"},
		{"an unknown error", "shout", "text/plain", "secret", 500, "", "internal"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := w.curl(t, "POST", "/chains/"+test.chain, test.contentType, []byte(test.body))
			if got.status != test.status {
				t.Fatalf("status %d, want %d; body %.300s", got.status, test.status, got.body)
			}
			if test.status > 299 {
				if code := got.code(t); code != test.want {
					t.Errorf("code %q, want %q; body %s", code, test.want, got.body)
				}
				return
			}
			if got.body != test.want || got.header.Get("Content-Type") != test.wantType {
				t.Errorf("%s %.300q, want %s %.300q", got.header.Get("Content-Type"), got.body, test.wantType, test.want)
			}
			if got.header.Get("Catenary-Run") == "" || !strings.HasPrefix(got.header.Get("Catenary-Graph"), "sha256:") {
				t.Errorf("the headers name neither run nor graph: %v", got.header)
			}
		})
	}
}

func TestPlain_415NamesWhatIsAccepted(t *testing.T) {
	w := newWorld(t, nil)
	got := w.curl(t, "POST", "/chains/measure", "text/html", []byte("x"))
	if want := "application/json, audio/*"; got.header.Get("Accept-Post") != want || !strings.Contains(got.body, want) {
		t.Errorf("Accept-Post %q and body %s, want %q in both", got.header.Get("Accept-Post"), got.body, want)
	}
}

func TestPlain_Charset(t *testing.T) {
	w := newWorld(t, nil)
	for params, status := range map[string]int{
		"": 200, "; charset=utf-8": 200, `; charset="UTF-8"`: 200, "; charset=us-ascii": 200, "; charset=latin1": 415, "; charset=utf-16": 415,
	} {
		got := w.curl(t, "POST", "/chains/shout", "text/plain"+params, []byte("x"))
		if got.status != status || status == 415 && !strings.Contains(got.body, "is not utf-8") {
			t.Errorf("text/plain%s: status %d, want %d: %s", params, got.status, status, got.body)
		}
	}
}

func TestPlain_TooLargeWithoutLength(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxBody = 100_000 })
	resp, err := http.Post(w.url+"/chains/shout", "text/plain", io.MultiReader(strings.NewReader(strings.Repeat("x", 200_000))))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d, want 413", resp.StatusCode)
	}
}

func TestPlain_ErrorsNameTheStep(t *testing.T) {
	w := newWorld(t, nil)
	got := w.curl(t, "POST", "/chains/shout", "text/plain", []byte("refuse"))
	var e struct {
		Message string
		Details []struct {
			Type  string
			Debug struct{ Code, Chain, Step string }
		}
	}
	if err := json.Unmarshal([]byte(got.body), &e); err != nil || len(e.Details) == 0 {
		t.Fatalf("%v: %s", err, got.body)
	}
	d := e.Details[0]
	if d.Type != "catenary.v1.Failure" || d.Debug.Code != "function" || d.Debug.Chain != "shout" || d.Debug.Step != "step" || !strings.Contains(e.Message, "not this") {
		t.Errorf("got %s", got.body)
	}
}

func TestPlain_UnknownErrorStaysInTheLog(t *testing.T) {
	w := newWorld(t, nil)
	got := w.curl(t, "POST", "/chains/shout", "text/plain", []byte("secret"))
	if strings.Contains(got.body, "/secret/path") {
		t.Errorf("the cause is shown: %s", got.body)
	}
	_, rest, ok := strings.Cut(got.body, "internal error, id ")
	if !ok || len(rest) < 16 || !strings.Contains(w.log.String(), rest[:16]) || !strings.Contains(w.log.String(), "/secret/path") {
		t.Errorf("body %s\nlog %s", got.body, w.log)
	}
}

func TestPlain_RetryInfo(t *testing.T) {
	w := newWorld(t, nil)
	if got := w.curl(t, "POST", "/chains/shout", "text/plain", []byte("cold")); !strings.Contains(got.body, "google.rpc.RetryInfo") {
		t.Errorf("a retryable error without RetryInfo: %s", got.body)
	}
	if got := w.curl(t, "POST", "/chains/shout", "text/plain", []byte("refuse")); strings.Contains(got.body, "google.rpc.RetryInfo") {
		t.Errorf("RetryInfo in an error that is not retryable: %s", got.body)
	}
}

func TestPlain_BlobsInJSON(t *testing.T) {
	w := newWorld(t, nil)
	file := tone(16000, 160)
	inline := fmt.Sprintf(`{"data":%q,"type":"audio/wav"}`, base64.StdEncoding.EncodeToString(file))
	want := "{\"bytes\":364,\"dur\":10000000,\"sample_hz\":16000}\n"
	if got := w.curl(t, "POST", "/chains/measure", "application/json", []byte(inline)); got.body != want {
		t.Errorf("inline: status %d, %s", got.status, got.body)
	}
	d := functions.DigestOf(file)
	ref := fmt.Sprintf(`{"blob":%q,"type":"audio/wav","size":%d,"sample_hz":16000,"channels":1,"dur":10000000}`, d, len(file))
	if got := w.curl(t, "POST", "/chains/measure", "application/json", []byte(ref)); got.status != 404 || got.code(t) != "not_found" || !strings.Contains(got.body, d.Hex()) {
		t.Errorf("a blob that is not there: status %d, %s", got.status, got.body)
	}
	if got := w.curl(t, "PUT", "/blobs/"+d.Hex(), "", file); got.status != 201 {
		t.Fatalf("put: status %d, %s", got.status, got.body)
	}
	if got := w.curl(t, "POST", "/chains/measure", "application/json", []byte(ref)); got.body != want {
		t.Errorf("stored: status %d, %s", got.status, got.body)
	}
	wrong := strings.Replace(ref, fmt.Sprint(len(file)), "7", 1)
	if got := w.curl(t, "POST", "/chains/measure", "application/json", []byte(wrong)); got.status != 400 {
		t.Errorf("a wrong size: status %d, %s", got.status, got.body)
	}
	// The digest is enough: the rest is in the file.
	for _, short := range []string{fmt.Sprintf(`{"blob":%q}`, d), fmt.Sprintf(`{"blob":%q,"type":"audio/wav","size":%d}`, d, len(file))} {
		if got := w.curl(t, "POST", "/chains/measure", "application/json", []byte(short)); got.body != want {
			t.Errorf("%s: status %d, %s", short, got.status, got.body)
		}
		resp, err := w.rpc.Run(t.Context(), &catenaryv1.RunRequest{Chain: "measure", Json: []byte(short)})
		if err != nil || string(resp.Json)+"\n" != want {
			t.Errorf("Run of %s: %s, %v", short, resp.GetJson(), err)
		}
		replies, err := exchange(t, w.rpc, open("measure"), input(short))
		if err != nil || len(replies) != 2 || string(replies[0].GetItem().GetJson())+"\n" != want {
			t.Errorf("Stream of %s: %v, %v", short, kinds(replies), err)
		}
	}
	wrong = fmt.Sprintf(`{"blob":%q,"sample_hz":8000}`, d)
	if got := w.curl(t, "POST", "/chains/measure", "application/json", []byte(wrong)); got.status != 400 || !strings.Contains(got.body, "value.sample_hz") {
		t.Errorf("a wrong rate: status %d, %s", got.status, got.body)
	}
}

func TestPlain_BlobOfAnAnswer(t *testing.T) {
	w := newWorld(t, nil)
	got := w.curl(t, "POST", "/chains/paint", "text/plain", []byte("a cat"))
	var ref functions.Blob
	if err := json.Unmarshal([]byte(got.body), &ref); err != nil || ref.Type != "image/x-test" {
		t.Fatalf("%v: %s", err, got.body)
	}
	blob := w.curl(t, "GET", "/blobs/"+ref.Digest.Hex(), "", nil)
	if blob.body != "picture of a cat" || blob.header.Get("Content-Type") != "image/x-test" || blob.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("status %d, %v, %q", blob.status, blob.header, blob.body)
	}
}

func TestPlain_StreamsAsItComes(t *testing.T) {
	w := newWorld(t, nil)
	resp, err := http.Post(w.url+"/chains/drip", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first" {
		t.Fatalf("%q, %v", first, err) // the function waits: only a flush brings this
	}
	close(w.gate.open)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "last" {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestPlain_FailureAfterTheFirstByteCutsOff(t *testing.T) {
	for name, client := range map[string]*http.Client{"HTTP/1.1": http.DefaultClient, "HTTP/2": h2c()} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			defer client.CloseIdleConnections()
			resp, err := client.Post(w.url+"/chains/drip", "text/plain", strings.NewReader("trap"))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			<-w.gate.begun
			r := bufio.NewReader(resp.Body)
			if _, err := r.Peek(5); err != nil {
				t.Fatal(err)
			}
			close(w.gate.open)
			if body, err := io.ReadAll(r); err == nil {
				t.Errorf("the reply %q looks whole", body)
			}
		})
	}
}

func TestPlain_CallerGone(t *testing.T) {
	w := newWorld(t, nil)
	resp, err := http.Post(w.url+"/chains/drip", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	<-w.gate.begun
	_ = resp.Body.Close()
	if err := <-w.gate.ended; err == nil {
		t.Error("the function went on")
	}
}

func TestPlain_Timeout(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		header []string
	}{
		"the caller's":           {nil, []string{"Connect-Timeout-Ms", "20"}},
		"the server's":           {func(c *Config) { c.CallTimeout = 20e6 }, nil},
		"the server's, if lower": {func(c *Config) { c.CallTimeout = 20e6 }, []string{"Connect-Timeout-Ms", "1000000"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.change)
			got := w.curl(t, "POST", "/chains/slow", "text/plain", []byte("x"), test.header...)
			if got.status != http.StatusGatewayTimeout || got.code(t) != "deadline_exceeded" {
				t.Errorf("status %d, %s", got.status, got.body)
			}
		})
	}
	w := newWorld(t, nil)
	if got := w.curl(t, "POST", "/chains/shout", "text/plain", []byte("x"), "Connect-Timeout-Ms", "soon"); got.status != 400 {
		t.Errorf("status %d, %s", got.status, got.body)
	}
}

func TestPlain_TooManyRuns(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxRuns = 1 })
	done := make(chan response, 1)
	go func() { done <- w.curl(t, "POST", "/chains/slow", "text/plain", []byte("x")) }()
	<-w.gate.begun
	if got := w.curl(t, "POST", "/chains/shout", "text/plain", []byte("x")); got.status != 429 || got.code(t) != "resource_exhausted" {
		t.Errorf("status %d, %s", got.status, got.body)
	}
	close(w.gate.open)
	if got := <-done; got.body != "done" {
		t.Errorf("status %d, %s", got.status, got.body)
	}
	if got := w.curl(t, "POST", "/chains/shout", "text/plain", []byte("x")); got.status != 200 {
		t.Errorf("the slot did not come back: status %d, %s", got.status, got.body)
	}
}

func TestPlain_Describe(t *testing.T) {
	w := newWorld(t, nil)
	var d description
	got := w.curl(t, "GET", "/chains/split", "", nil)
	if err := json.Unmarshal([]byte(got.body), &d); err != nil {
		t.Fatal(err)
	}
	if d.Name != "split" || !d.Out.Stream || len(d.Steps) != 1 || d.Steps[0].Out != "Word" || len(d.Accepts) != 2 {
		t.Errorf("got %s", got.body)
	}
	if got := w.curl(t, "HEAD", "/chains/split", "", nil); got.status != 200 || got.body != "" {
		t.Errorf("HEAD: status %d", got.status)
	}
	if got := w.curl(t, "DELETE", "/chains/split", "", nil); got.status != 405 || got.header.Get("Allow") != "GET, HEAD, POST" || got.code(t) != "unimplemented" {
		t.Errorf("DELETE: status %d, %v", got.status, got.header)
	}
	if got := w.curl(t, "GET", "/chains/nope", "", nil); got.status != 404 {
		t.Errorf("status %d", got.status)
	}
	if got := w.curl(t, "GET", "/elsewhere", "", nil); got.status != 404 || got.code(t) != "not_found" {
		t.Errorf("status %d", got.status)
	}
}

func TestAudioAnswer_RightHeader(t *testing.T) {
	// A part with an open-ended header, as a streaming recorder writes it, gets one that tells the length.
	w := newWorld(t, nil)
	part := append(wav.Header(16000, 1, -1), make([]byte, 20)...)
	att := functions.Attach(wav.MediaType, part)
	schema := functions.SchemaFor[functions.Audio]()
	it, err := w.s.inputItem(t.Context(), schema, audioItem(t, att))
	if err != nil {
		t.Fatal(err)
	}
	rec := newRecorder()
	a := w.s.newAnswer(rec, nil, functions.Port{Schema: schema})
	if err := a.item(it); err != nil {
		t.Fatal(err)
	}
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	if want := string(append(wav.Header(16000, 1, 20), make([]byte, 20)...)); rec.Body.String() != want {
		t.Errorf("got %q, want %q", rec.Body, want)
	}
}
