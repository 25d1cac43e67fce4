package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/store"
	"github.com/catenary-run/catenary/internal/store/storetest"
	"github.com/catenary-run/catenary/internal/testkit"
)

func open(t *testing.T, url, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(url, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestFolder(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Backend {
		dir := t.TempDir()
		return func(t *testing.T) storetest.Store { return open(t, dir, "") }
	})
}

// inProcess says that the server's own memory is this process's.
type inProcess struct{ *store.Store }

func (inProcess) ServerInProcess() {}

func TestMiniredis(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Backend {
		server := miniredis.RunT(t)
		return func(t *testing.T) storetest.Store {
			return inProcess{open(t, "redis://"+server.Addr(), t.TempDir())}
		}
	})
}

func TestRedis(t *testing.T) {
	server := startRedis(t, testkit.FreePort(t))
	storetest.Run(t, func(t *testing.T) storetest.Backend {
		server.flush(t)
		return func(t *testing.T) storetest.Store { return open(t, server.URL(), t.TempDir()) }
	})
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ url, dir, want string }{
		{"", dir, dir},
		{dir + "/x", "", dir + "/x"},
		{"file://" + dir + "/y", "", dir + "/y"},
		{"redis://user:hunter2@127.0.0.1:6390/2", dir + "/cache", "redis at 127.0.0.1:6390"},
		{"rediss://:hunter2@redis.example", dir + "/cache", "redis at redis.example:6379"},
	} {
		if got := open(t, tt.url, tt.dir).String(); got != tt.want {
			t.Errorf("Open(%q): got %q, want %q", tt.url, got, tt.want)
		}
	}
}

func TestOpen_Refuses(t *testing.T) {
	for _, tt := range []struct{ url, dir string }{
		{"", ""},
		{"http://127.0.0.1", t.TempDir()},
		{"redis://127.0.0.1", ""},
		{"redis://", t.TempDir()},
		{"redis://:hunter2/x@127.0.0.1", t.TempDir()},
		{"redis://user:12/hunter2@127.0.0.1", t.TempDir()},
		{"redis://:hunter2%zz@127.0.0.1", t.TempDir()},
		{"redis://:hunter2@127.0.0.1/x", t.TempDir()},
		{"redis://:hunter2@127.0.0.1/0?pool_size=hunter2", t.TempDir()},
	} {
		s, err := store.Open(tt.url, tt.dir)
		if !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("Open(%q): got %v, %v; want ErrInvalid", tt.url, s, err)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open(%q): %v shows the password", tt.url, err)
		}
	}
}

// TestRedis_Away: a server that is not there is an error that can be retried, with its address and nothing secret.
func TestRedis_Away(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	s := open(t, "redis://user:hunter2@"+addr, filepath.Join(t.TempDir(), "cache"))
	d := functions.DigestOf(nil)
	_, recordErr := s.Record(t.Context(), functions.RecordGraph, d)
	_, setErr := s.SetAlias(t.Context(), "chain/voice", d, 0)
	_, putErr := s.Put(t.Context(), d, strings.NewReader(""))
	_, _, openErr := s.Open(t.Context(), d)
	_, pathErr := s.Path(t.Context(), d)
	for what, err := range map[string]error{
		"Ping": s.Ping(t.Context()), "Record": recordErr, "SetAlias": setErr, "Put": putErr, "Open": openErr, "Path": pathErr,
	} {
		switch {
		case !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err):
			t.Errorf("%s: got %v, want ErrUnavailable", what, err)
		case !strings.Contains(err.Error(), addr):
			t.Errorf("%s: %v does not name %s", what, err, addr)
		case strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: %v shows the password", what, err)
		}
	}
}
