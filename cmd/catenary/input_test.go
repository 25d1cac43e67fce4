package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/cmd/catenary/testdata/contract"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/internal/testkit"
)

// Every input that is wrong gets an error that says where and what to do, and the service is well after it.
func TestInput_WrongIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, "--max-body", "1MiB")
	wrong := question(t)
	audio := func(hz, channels int) []byte { return append(wav.Header(hz, channels, 3200), make([]byte, 3200)...) }
	float := audio(16000, 1)
	binary.LittleEndian.PutUint16(float[20:], 3) // the format's tag: IEEE float
	big := make([]byte, 2<<20)

	for _, tc := range []struct {
		name, chain, contentType string
		body                     []byte
		status                   int
		class, step              string
		parts                    []string
	}{
		{"not a wav", "listen", "audio/wav", []byte("hello, this is text"), 400, "invalid", "", []string{"not a wav", "that begin with"}},
		{"wav cut in its header", "listen", "audio/wav", wrong[:20], 400, "invalid", "", []string{"input:"}},
		{"wav of floats", "listen", "audio/wav", float, 400, "invalid", "", []string{"16-bit PCM"}},
		{"wrong rate", "listen", "audio/wav", audio(8000, 1), 400, "invalid", "hear", []string{"8000 Hz", "need 16000 Hz", "sox"}},
		{"stereo", "listen", "audio/wav", audio(16000, 2), 400, "invalid", "hear", []string{"2 channels", "mono", "sox"}},
		{"empty body", "listen", "audio/wav", nil, 400, "invalid", "", []string{"body is empty", "takes Audio"}},
		{"empty JSON body", "count", "application/json", nil, 400, "invalid", "", []string{"body is empty", "takes Job"}},
		{"over the size limit", "listen", "audio/wav", big, 413, "memory_limit", "", []string{"1048576 bytes", "/blobs/HEX"}},
		{"another media type", "listen", "video/mp4", []byte("x"), 415, "invalid", "", []string{"video/mp4", "audio/*"}},
		{"no media type", "listen", "", []byte("x"), 415, "invalid", "", []string{"no Content-Type", "audio/*"}},
		{"audio for a chain of JSON", "count", "audio/wav", wrong, 415, "invalid", "", []string{"audio/wav", "application/json"}},
		{"text for a struct of two fields", "count", "text/plain", []byte("x"), 415, "invalid", "", []string{"text/plain", "application/json"}},
		{"JSON that breaks off", "count", "application/json", []byte(`{"do":`), 400, "invalid", "", []string{"value.do", "ends too early"}},
		{"JSON of another type", "count", "application/json", []byte(`{"do":1}`), 400, "invalid", "", []string{"value.do", "got number, want string"}},
		{"JSON with an unknown property", "count", "application/json", []byte(`{"do":"","dew":""}`), 400, "invalid", "", []string{"value.dew", "not a property of Job"}},
		{"a blob that nobody sent", "listen", "application/json",
			[]byte(`{"blob":"` + string(functions.DigestOf([]byte("nobody"))) + `","type":"audio/wav","size":6}`), 404, "not_found", "", []string{"blob"}},
		{"unknown chain", "nobody", "application/json", []byte(`{}`), 404, "not_found", "", []string{`"nobody"`, "deploy it first"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantError(t, post(t, s, tc.chain, tc.contentType, tc.body), tc.status, tc.class, tc.step, tc.parts...)
			wellGuest(t, s)
			wellEars(t, s)
		})
	}
	t.Run("over the size limit without a length", func(t *testing.T) {
		r, err := send(t.Context(), http.MethodPost, s.URL+"/chains/listen", "audio/wav", io.MultiReader(bytes.NewReader(big)))
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, r, 413, "memory_limit", "", "1048576 bytes", "/blobs/HEX")
		wellEars(t, s)
	})
	t.Run("wrong digest", func(t *testing.T) {
		url := s.URL + "/blobs/" + functions.DigestOf([]byte("one thing")).Hex()
		r, err := send(t.Context(), http.MethodPut, url, "", strings.NewReader("another thing"))
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, r, 400, "invalid", "", functions.DigestOf([]byte("another thing")).Hex(), "nothing was kept")
		if r, err = send(t.Context(), http.MethodGet, url, "", nil); err != nil {
			t.Fatal(err)
		}
		wantError(t, r, 404, "not_found", "", "no blob")
	})
}

// A function that misbehaves fails its own call with an error of its kind, and the next call gets a sound instance.
func TestInput_FunctionMisbehaves(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, tc := range []struct {
		name, chain, do string
		header          []string
		status          int
		class, step     string
		parts           []string
	}{
		{"trap", "count", "trap", nil, 500, "trap", "guest", []string{"crashed", "nil pointer dereference"}},
		{"endless loop", "count", "loop", nil, 504, "time_limit", "guest", []string{"2s", "limits.time"}},
		{"endless loop and a caller with less time", "count", "loop", []string{"Connect-Timeout-Ms", "200"}, 504, "deadline", "guest", []string{"caller's limit", "200ms"}},
		{"too much memory", "count", "grow", nil, 429, "memory_limit", "guest", []string{"67108864 bytes", "limits.mem"}},
		{"refusal", "count", "fail", nil, 400, "function", "guest", []string{"the guest refuses this job"}},
		{"plugin exits", "assist", "exit", nil, 500, "trap", "help", []string{"helper", "exit status 4"}},
		{"plugin panics", "assist", "panic", nil, 500, "trap", "help", []string{"the helper panics"}},
		{"plugin too slow for the caller", "assist", "wait", []string{"Connect-Timeout-Ms", "200"}, 504, "deadline", "help", []string{"caller's limit", "200ms"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantError(t, job(t, s, tc.chain, contract.Job{Do: tc.do}, tc.header...), tc.status, tc.class, tc.step,
				append(tc.parts, "chain "+tc.chain)...)
			wellGuest(t, s)
			wellHelper(t, s)
		})
	}
}

// The server's own limit ends a run for which no caller set one.
func TestInput_CallTimeout(t *testing.T) {
	t.Parallel()
	s := serve(t, "--timeout", "1s")
	wantError(t, job(t, s, "count", contract.Job{Do: "loop"}), 504, "deadline", "guest", "chain count", "server's limit", "1s")
	// Under load a good call may need more than a second at first: it is right as soon as its instance is warm.
	testkit.Eventually(t, "a good call within the limit", func() bool {
		return job(t, s, "count", contract.Job{}).status == http.StatusOK
	})
}
