package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/store"
	"github.com/catenary-run/catenary/internal/testkit"
)

// TestRedis_WatchOutlivesTheServer: what was set while the server was new and the watcher not there yet is seen.
func TestRedis_WatchOutlivesTheServer(t *testing.T) {
	port := testkit.FreePort(t)
	first := startRedis(t, port)
	s, other := open(t, first.URL(), t.TempDir()), open(t, first.URL(), t.TempDir())
	old, lost := functions.DigestOf([]byte("old")), functions.DigestOf([]byte("lost"))
	for rev := range uint64(2) {
		if _, err := other.SetAlias(t.Context(), "chain/voice", old, rev); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan functions.Alias, 10)
	done := make(chan error, 1)
	go func() { done <- s.Watch(ctx, func(a functions.Alias) { seen <- a }) }()
	if a := <-seen; a.Digest != old || a.Rev != 2 {
		t.Fatalf("got %v, want revision 2", a)
	}
	first.Stop(t)
	startRedis(t, port) // empty: the revisions begin anew
	if _, err := other.SetAlias(t.Context(), "chain/voice", lost, 0); err != nil {
		t.Fatal(err)
	}
	if a := <-seen; a.Digest != lost || a.Rev != 1 {
		t.Fatalf("got %v, want what was set while the watcher was away", a)
	}
	if _, err := other.SetAlias(t.Context(), "chain/voice", old, 1); err != nil {
		t.Fatal(err)
	}
	if a := <-seen; a.Digest != old || a.Rev != 2 {
		t.Fatalf("got %v, want the change", a)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestRedis_WatchTellsWhatWasLost: aliases that the server no longer has are told, however the watch finds out.
func TestRedis_WatchTellsWhatWasLost(t *testing.T) {
	voice, listen := functions.Alias{Name: "chain/voice"}, functions.Alias{Name: "chain/listen"}
	for name, tt := range map[string]struct {
		silence time.Duration
		lose    func(*testing.T, *server) (voice functions.Alias) // returns what is there after it
	}{
		"by looking in silence": {50 * time.Millisecond, func(t *testing.T, s *server) functions.Alias {
			s.flush(t)
			return voice
		}},
		"by an announcement": {time.Hour, func(t *testing.T, s *server) functions.Alias {
			s.flush(t)
			return set(t, s, voice.Name, 0, 1)
		}},
		"by a lost connection": {time.Hour, func(t *testing.T, s *server) functions.Alias {
			s.Stop(t)
			startRedis(t, s.port)
			return voice
		}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := startRedis(t, testkit.FreePort(t))
			last, other := set(t, srv, voice.Name, 0, 3), set(t, srv, listen.Name, 0, 1)
			s := open(t, srv.URL(), t.TempDir())
			store.SetWatchSilence(s, tt.silence)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			told := make(chan functions.Alias, 10)
			done := make(chan error, 1)
			go func() { done <- s.Watch(ctx, func(a functions.Alias) { told <- a }) }()
			want := func(a, b functions.Alias) {
				t.Helper()
				if diff := cmp.Diff([]functions.Alias{a, b}, []functions.Alias{<-told, <-told}); diff != "" {
					t.Errorf("told: want- got+\n%s", diff)
				}
			}
			want(other, last)
			if now := tt.lose(t, srv); now.Rev > 0 {
				want(now, listen)
			} else {
				want(listen, voice)
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

// set moves an alias from one revision to another, and returns it as it is then.
func set(t *testing.T, srv *server, name string, from, to uint64) (last functions.Alias) {
	t.Helper()
	s := open(t, srv.URL(), t.TempDir())
	for rev := from; rev < to; rev++ {
		var err error
		if last, err = s.SetAlias(t.Context(), name, functions.DigestOf(fmt.Append(nil, name, rev)), rev); err != nil {
			t.Fatal(err)
		}
	}
	return last
}

// TestRedis_WrongPassword is not an outage, and not told to the world.
func TestRedis_WrongPassword(t *testing.T) {
	server := startRedis(t, testkit.FreePort(t), "--requirepass", "right")
	good := open(t, "redis://:right@"+server.Addr, t.TempDir())
	if err := good.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	bad := open(t, "redis://:hunter2@"+server.Addr, t.TempDir())
	if err := bad.Ping(t.Context()); !errors.Is(err, functions.ErrDenied) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want ErrDenied without the password", err)
	}
}

// TestRedis_FullServer: a server without memory says so.
func TestRedis_FullServer(t *testing.T) {
	server := startRedis(t, testkit.FreePort(t), "--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
	s := open(t, server.URL(), t.TempDir())
	data := make([]byte, 16<<20)
	if _, err := s.Put(t.Context(), functions.DigestOf(data), bytes.NewReader(data)); !errors.Is(err, functions.ErrMemoryLimit) {
		t.Errorf("got %v, want ErrMemoryLimit", err)
	}
	if keys, err := server.client.Keys(t.Context(), "*").Result(); err != nil || len(keys) != 0 {
		t.Errorf("got keys %v, %v; want nothing left", keys, err)
	}
}

// TestRedis_Damage: what was changed in Redis is an error, and never gets into the node's folder.
func TestRedis_Damage(t *testing.T) {
	server := startRedis(t, testkit.FreePort(t))
	dir := t.TempDir()
	s := open(t, server.URL(), dir)
	ctx := t.Context()
	record, err := s.PutRecord(ctx, functions.RecordGraph, []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	server.client.Set(ctx, "catenary:record:graph:"+record.Hex(), `{"a":2}`, 0)
	if _, err := s.Record(ctx, functions.RecordGraph, record); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("record: got %v", err)
	}
	server.client.HSet(ctx, "catenary:aliases", "chain/voice", `{"name":"chain/listen"}`)
	if _, err := s.Alias(ctx, "chain/voice"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("alias: got %v", err)
	}
	data := bytes.Repeat([]byte("x"), 3<<20)
	blob := functions.DigestOf(data)
	if _, err := s.Put(ctx, blob, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	key := "catenary:blob:" + blob.Hex()
	for what, damage := range map[string]func(){
		"changed": func() { server.client.HSet(ctx, key, "1", "y") },
		"missing": func() { server.client.HDel(ctx, key, "1") },
	} {
		damage()
		r, _, err := s.Open(ctx, blob)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, r)
		r.Close()
		if err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s piece: Open: got %v", what, err)
		}
		if _, err := s.Path(ctx, blob); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s piece: Path: got %v", what, err)
		}
	}
	if got := tree(t, dir, blob.Hex()); len(got) != 0 {
		t.Errorf("the node keeps %v", got)
	}
}

// TestRedis_PathNeedsNoServerOnceFetched: a node starts functions with its own copies.
func TestRedis_PathNeedsNoServerOnceFetched(t *testing.T) {
	server := startRedis(t, testkit.FreePort(t))
	s := open(t, server.URL(), t.TempDir())
	data := []byte("a blob")
	blob := functions.DigestOf(data)
	if _, err := s.Put(t.Context(), blob, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	path, err := s.Path(t.Context(), blob)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("a blot"), 0o600); err != nil {
		t.Fatal(err)
	}
	if damaged, err := s.Verify(t.Context(), blob); !damaged || err != nil {
		t.Errorf("a damaged copy: got %v, %v; want that it is removed, and can be had again", damaged, err)
	}
	if _, err := s.Path(t.Context(), blob); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	if r, _, err := s.Open(t.Context(), blob); err != nil {
		t.Errorf("while Redis is away its own copy can't be read: %v", err)
	} else {
		r.Close()
	}
	again, err := s.Path(t.Context(), blob)
	if err != nil || again != path {
		t.Errorf("got %q, %v; want %q", again, err, path)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %q, %v", got, err)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, functions.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

// TestRedis_LostBlob: what only this node has a copy of is not there, so that it is sent again, for others.
func TestRedis_LostBlob(t *testing.T) {
	server := startRedis(t, testkit.FreePort(t))
	s, other := open(t, server.URL(), t.TempDir()), open(t, server.URL(), t.TempDir())
	data := []byte("a blob")
	blob := functions.DigestOf(data)
	put := func() {
		t.Helper()
		if _, err := s.Put(t.Context(), blob, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	put()
	if _, err := s.Path(t.Context(), blob); err != nil {
		t.Fatal(err)
	}
	server.flush(t)
	if _, _, err := s.Open(t.Context(), blob); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	put()
	if _, err := other.Path(t.Context(), blob); err != nil {
		t.Errorf("another node: %v", err)
	}
}

// TestRedis_EndedUploadLeavesNothing: whether its context ended or its bytes were wrong.
func TestRedis_EndedUploadLeavesNothing(t *testing.T) {
	server := startRedis(t, testkit.FreePort(t))
	s := open(t, server.URL(), t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pieces := 0
	_, err := s.Put(ctx, functions.DigestOf(nil), readerFunc(func(p []byte) (int, error) {
		if pieces++; pieces == 3 {
			cancel()
		}
		return len(p), nil
	}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cause", err)
	}
	if keys, err := server.client.Keys(t.Context(), "*").Result(); err != nil || len(keys) != 0 {
		t.Errorf("got keys %v, %v; want nothing left", keys, err)
	}
}

// TestRedis_UploadThatPaused: Redis has forgotten the first pieces, so the rest is not a blob.
func TestRedis_UploadThatPaused(t *testing.T) {
	server := miniredis.RunT(t)
	s := open(t, "redis://"+server.Addr(), t.TempDir())
	data := bytes.Repeat([]byte("x"), 3<<20)
	blob := functions.DigestOf(data)
	paused := readerFunc(func([]byte) (int, error) {
		server.FastForward(11 * time.Minute)
		return 0, io.EOF
	})
	r := io.MultiReader(bytes.NewReader(data[:2<<20]), paused, bytes.NewReader(data[2<<20:]))
	if _, err := s.Put(t.Context(), blob, r); !errors.Is(err, functions.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if keys := server.Keys(); len(keys) != 0 {
		t.Errorf("got keys %v, want nothing left", keys)
	}
	if _, err := s.Put(t.Context(), blob, bytes.NewReader(data)); err != nil {
		t.Error(err)
	}
	server.FastForward(time.Hour) // a blob that is there stays
	if _, err := s.Path(t.Context(), blob); err != nil {
		t.Error(err)
	}
}

// TestRedis_DeathInAnUploadLeavesNothingForever: a node that dies at any moment of an upload leaves at most what expires.
func TestRedis_DeathInAnUploadLeavesNothingForever(t *testing.T) {
	data := make([]byte, 2<<20)
	begun := 0
	for past := int64(0); past < 600; past += 20 { // bytes that the node could send after its first piece, or what surrounds it
		server := miniredis.RunT(t)
		whole := open(t, "redis://"+server.Addr(), t.TempDir()) // after it the server knows the scripts
		if _, err := whole.Put(t.Context(), functions.DigestOf(nil), bytes.NewReader(nil)); err != nil {
			t.Fatal(err)
		}
		s := open(t, "redis://"+cutAfter(t, server.Addr(), 1<<20+past), t.TempDir())
		if _, err := s.Put(t.Context(), functions.DigestOf(data), bytes.NewReader(data)); !errors.Is(err, functions.ErrUnavailable) {
			t.Fatalf("got %v, want ErrUnavailable: the connection ends", err)
		}
		for _, key := range server.Keys() {
			if !strings.Contains(key, "upload") {
				continue
			}
			begun++
			if server.TTL(key) == 0 {
				t.Errorf("%s stays for ever when the node dies %d bytes past its first piece", key, past)
			}
		}
	}
	if begun == 0 {
		t.Error("no upload had begun: the test shows nothing")
	}
}

// cutAfter is an address that leads to addr over one connection, which carries that many bytes from the client and ends.
func cutAfter(t *testing.T, addr string, bytes int64) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	t.Cleanup(func() {
		lis.Close()
		both.Wait()
	})
	both.Go(func() {
		client, err := lis.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		lis.Close()
		server, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		both.Go(func() { _, _ = io.Copy(client, server) }) // ends with the other side
		_, _ = io.CopyN(server, client, bytes)             // ends with the client at the latest
		server.Close()
	})
	return lis.Addr().String()
}
