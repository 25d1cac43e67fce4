package gateway

import (
	"errors"
	"testing"

	"github.com/catenary-run/catenary/functions"
)

func TestListen(t *testing.T) {
	for _, test := range []struct {
		addr     string
		insecure bool
		want     error
	}{
		{"127.0.0.1:0", false, nil},
		{"localhost:0", false, nil},
		{"0.0.0.0:0", false, functions.ErrDenied},
		{":0", false, functions.ErrDenied},
		{"[::]:0", false, functions.ErrDenied},
		{"10.0.0.1:0", false, functions.ErrDenied},
		{"example.com:0", false, functions.ErrDenied},
		{"0.0.0.0:0", true, nil},
		{"8372", false, functions.ErrInvalid},
	} {
		ln, err := Listen(test.addr, test.insecure)
		if !errors.Is(err, test.want) || test.want == nil && err != nil {
			t.Errorf("Listen(%q, %v): got %v, want %v", test.addr, test.insecure, err, test.want)
		}
		if ln != nil {
			_ = ln.Close()
		}
	}
}

func TestGuard(t *testing.T) {
	w := newWorld(t, nil)
	own := w.url
	host := own[len("http://"):]
	for _, test := range []struct {
		name, host, origin string
		want               int
	}{
		{"curl", "", "", 200},
		{"localhost", "localhost:8372", "", 200},
		{"IPv6", "[::1]:8372", "", 200},
		{"IPv6 without a port", "[::1]", "", 200},
		{"the server's own page", "", own, 200},
		{"DNS rebinding", "evil.example:8372", "", 403},
		{"DNS rebinding with the page's origin", "evil.example:8372", "http://evil.example:8372", 403},
		{"another site", "", "https://evil.example", 403},
		{"another port of this machine", "", "http://127.0.0.1:1", 403},
		{"a sandboxed page", "", "null", 403},
		{"the own host by TLS", "", "https://" + host, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			var header []string
			if test.host != "" {
				header = append(header, "Host", test.host)
			}
			if test.origin != "" {
				header = append(header, "Origin", test.origin)
			}
			got := w.curl(t, "POST", "/chains/shout", "text/plain", []byte("x"), header...)
			if got.status != test.want {
				t.Fatalf("status %d, want %d: %s", got.status, test.want, got.body)
			}
			if test.want == 403 && got.code(t) != "permission_denied" {
				t.Errorf("got %s", got.body)
			}
		})
	}
	insecure := newWorld(t, func(c *Config) { c.Insecure = true })
	if got := insecure.curl(t, "POST", "/chains/shout", "text/plain", []byte("x"), "Host", "node-7.internal"); got.status != 200 {
		t.Errorf("insecure: status %d", got.status)
	}
	if got := insecure.curl(t, "POST", "/chains/shout", "text/plain", []byte("x"), "Origin", "https://evil.example"); got.status != 403 {
		t.Errorf("insecure, another site: status %d", got.status)
	}
}
