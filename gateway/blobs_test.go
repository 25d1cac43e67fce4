package gateway

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
)

func TestBlobs_PutAndGet(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxBlob = 1 << 20 })
	data := []byte("some bytes")
	path := "/blobs/" + functions.DigestOf(data).Hex()
	if got := w.curl(t, "GET", path, "", nil); got.status != 404 || got.code(t) != "not_found" || got.header.Get("ETag") != "" {
		t.Errorf("before: status %d, %v", got.status, got.header)
	}
	for range 2 { // the same again is the same
		if got := w.curl(t, "PUT", path, "", data); got.status != 201 {
			t.Fatalf("put: status %d, %s", got.status, got.body)
		}
	}
	got := w.curl(t, "GET", path, "", nil)
	if got.body != string(data) || got.header.Get("Content-Type") != "application/octet-stream" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("status %d, %v, %q", got.status, got.header, got.body)
	}
	if got := w.curl(t, "GET", path, "", nil, "Range", "bytes=5-8"); got.status != 206 || got.body != "byte" {
		t.Errorf("range: status %d, %q", got.status, got.body)
	}
	if got := w.curl(t, "HEAD", path, "", nil); got.status != 200 || got.header.Get("Content-Length") != "10" {
		t.Errorf("head: status %d, %v", got.status, got.header)
	}
}

func TestBlobs_Refused(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxBlob = 1000 })
	hexOf := func(b []byte) string { return functions.DigestOf(b).Hex() }
	big := make([]byte, 1001)
	for _, test := range []struct {
		name, method, hex string
		body              []byte
		status            int
		code              string
	}{
		{"wrong digest", "PUT", hexOf([]byte("other")), []byte("data"), 400, "invalid_argument"},
		{"no digest", "PUT", "abc", []byte("data"), 400, "invalid_argument"},
		{"no digest to get", "GET", "ABC", nil, 400, "invalid_argument"},
		{"too large", "PUT", hexOf(big), big, 413, "resource_exhausted"},
		{"another method", "POST", hexOf(big), nil, 405, "unimplemented"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := w.curl(t, test.method, "/blobs/"+test.hex, "", test.body)
			if got.status != test.status || got.code(t) != test.code {
				t.Errorf("status %d, %s", got.status, got.body)
			}
		})
	}
	t.Run("too large without length", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), "PUT", w.url+"/blobs/"+hexOf(big), io.MultiReader(bytes.NewReader(big)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != 413 {
			t.Errorf("status %d, want 413", resp.StatusCode)
		}
	})
}

func TestBlobs_BrokenOff(t *testing.T) {
	w := newWorld(t, nil)
	d := functions.DigestOf([]byte("0123456789"))
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "PUT /blobs/"+d.Hex()+" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n01234"); err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	reply, _ := io.ReadAll(conn)
	if !bytes.Contains(reply, []byte("400")) || !bytes.Contains(reply, []byte("broke off after 5 bytes")) {
		t.Errorf("got %s", reply)
	}
	if _, _, err := w.mem.Open(t.Context(), d); err == nil {
		t.Error("half a blob was kept")
	}
}

func TestBlobs_TooManyUploads(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxUploads = 1 })
	w.s.uploads <- struct{}{}
	data := []byte("x")
	if got := w.curl(t, "PUT", "/blobs/"+functions.DigestOf(data).Hex(), "", data); got.status != 429 {
		t.Errorf("status %d, %s", got.status, got.body)
	}
}

func TestResults(t *testing.T) {
	now := time.Unix(0, 0)
	r := newResults(10, time.Minute)
	a, b, c := functions.Attach("t", []byte("aaaa")), functions.Attach("t", []byte("bbbb")), functions.Attach("t", []byte("cccc"))
	has := func(at functions.Attachment) bool { _, ok := r.get(at.Digest, now); return ok }
	r.put(a, now)
	r.put(b, now)
	now = now.Add(time.Second)
	r.put(a, now) // the same again is the youngest
	if r.size(now) != 8 {
		t.Errorf("%d bytes, want 8", r.size(now))
	}
	r.put(c, now)
	if has(b) || !has(a) || !has(c) {
		t.Errorf("a %v b %v c %v, want the oldest gone", has(a), has(b), has(c))
	}
	if r.put(functions.Attach("t", make([]byte, 11)), now) || !has(a) {
		t.Error("what can't fit was taken, or drove others out")
	}
	now = now.Add(time.Minute + 1)
	if has(a) || has(c) || r.size(now) != 0 {
		t.Error("results outlived their age")
	}
}

func TestSafeType(t *testing.T) {
	for in, want := range map[string]string{"audio/wav": "audio/wav", "": "application/octet-stream", "a\r\nb: c": "application/octet-stream"} {
		if got := safeType(in); got != want {
			t.Errorf("safeType(%q) = %q, want %q", in, got, want)
		}
	}
}
