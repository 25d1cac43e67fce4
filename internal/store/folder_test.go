package store_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/store"
)

// A child process is this test binary again, told by childEnv what to do in the folder childDir.
const (
	childEnv = "STORE_TEST_CHILD"
	childDir = "STORE_TEST_DIR"
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "upload":
		err = childUpload(os.Getenv(childDir))
	case "count":
		err = childCount(os.Getenv(childDir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(t *testing.T, what, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+what, childDir+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// childUpload begins to store a blob that never ends, and says so.
func childUpload(dir string) error {
	s, err := store.Open(dir, "")
	if err != nil {
		return err
	}
	first := true
	_, err = s.Put(context.Background(), functions.DigestOf(nil), readerFunc(func(p []byte) (int, error) {
		if !first {
			fmt.Println("half")
			select {}
		}
		first = false
		return copy(p, "half a blob"), nil
	}))
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// childCount moves one alias 50 revisions on, against everybody else who does.
func childCount(dir string) error {
	s, err := store.Open(dir, "")
	if err != nil {
		return err
	}
	return count(s, 50)
}

func count(s *store.Store, times int) error {
	ctx := context.Background()
	for done := 0; done < times; {
		a, err := s.Alias(ctx, "chain/voice")
		if err != nil && !errors.Is(err, functions.ErrNotFound) {
			return err
		}
		switch _, err := s.SetAlias(ctx, "chain/voice", functions.DigestOf(nil), a.Rev); {
		case err == nil:
			done++
		case !errors.Is(err, functions.ErrConflict):
			return err
		}
	}
	return nil
}

// tree returns the files under dir whose names have part in them.
func tree(t *testing.T, dir, part string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.Contains(e.Name(), part) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestFolder_SweepsWhatAKilledProcessLeft, and only that.
func TestFolder_SweepsWhatAKilledProcessLeft(t *testing.T) {
	dir := t.TempDir()
	cmd := child(t, "upload", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "half\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	open(t, dir, "")
	if got := tree(t, dir, "tmp"); len(got) != 1 {
		t.Errorf("got %v, want the one file that is still being written", got)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // always an error: it was killed
	foreign := filepath.Join(dir, "blobs", "tmp-of-somebody-else")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir, "")
	if diff := cmp.Diff([]string{foreign}, tree(t, dir, "tmp")); diff != "" {
		t.Error(diff)
	}
}

// TestFolder_AliasesAreSafeAcrossProcesses: no revision is given twice or lost between two processes, of which one has
// two stores.
func TestFolder_AliasesAreSafeAcrossProcesses(t *testing.T) {
	dir := t.TempDir()
	cmd := child(t, "count", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	one, two := open(t, dir, ""), open(t, dir, "")
	var wg sync.WaitGroup
	for _, s := range []*store.Store{one, two} {
		wg.Go(func() {
			if err := count(s, 50); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if a, err := one.Alias(t.Context(), "chain/voice"); err != nil || a.Rev != 150 {
		t.Errorf("got %v, %v; want revision 150", a, err)
	}
}

// TestFolder_WatchSeesAnotherProcess: the change is found without a word from the other.
func TestFolder_WatchSeesAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := child(t, "count", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	err := s.Watch(ctx, func(a functions.Alias) {
		if a.Rev == 50 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestFolder_Damage: what was changed on disk is an error that names the file, not a wrong answer.
func TestFolder_Damage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "")
	ctx := t.Context()
	record, err := s.PutRecord(ctx, functions.RecordGraph, []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	data := []byte("a blob")
	blob := functions.DigestOf(data)
	if _, err := s.Put(ctx, blob, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetAlias(ctx, "chain/voice", record, 0); err != nil {
		t.Fatal(err)
	}
	damage := func(path, with string) string {
		t.Helper()
		if err := os.WriteFile(path, []byte(with), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	check := func(err error, path string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v, want an error that names %s", err, path)
		}
	}
	path := damage(filepath.Join(dir, "records", "graph", record.Hex()+".json"), `{"a":2}`)
	_, err = s.Record(ctx, functions.RecordGraph, record)
	check(err, path)
	if _, err := s.PutRecord(ctx, functions.RecordGraph, []byte(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Record(ctx, functions.RecordGraph, record); err != nil {
		t.Errorf("a new deploy did not mend the record: %v", err)
	}
	path = damage(filepath.Join(dir, "blobs", blob.Hex()), "a blot")
	r, _, err := s.Open(ctx, blob)
	if err != nil {
		t.Fatal(err)
	}
	read, err := io.ReadAll(r)
	r.Close()
	check(err, path)
	if len(read) >= len("a blot") {
		t.Error("all bytes of a damaged blob came")
	}
	if _, err := s.Put(ctx, blob, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the right bytes, sent again, did not mend it: %q, %v", got, err)
	}
	if damaged, err := s.Verify(ctx, blob); damaged || err != nil {
		t.Errorf("what is right is called damaged: %v, %v", damaged, err)
	}
	for range 2 { // the second time it is not read
		if got, err := s.Whole(ctx, blob); err != nil || got != path {
			t.Errorf("got %q, %v", got, err)
		}
	}
	damage(path, "a blot!")
	if _, err := s.Whole(ctx, blob); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("a damaged file is called whole: %v", err)
	}
	damage(path, "a blot")
	if damaged, err := s.Verify(ctx, blob); !damaged || !errors.Is(err, functions.ErrNotFound) || !strings.Contains(err.Error(), "deploy again") {
		t.Errorf("what is damaged: got %v, %v", damaged, err)
	}
	if _, err := s.Path(ctx, blob); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("it is still there: %v", err)
	}
	for _, with := range []string{"", "{}", `[{"name":"chain/voice","digest":"x","rev":1}]`, `[{"name":"chain/voice","digest":"` + string(blob) + `","rev":0}]`} {
		path = damage(filepath.Join(dir, "aliases.json"), with)
		_, err = s.Alias(ctx, "chain/voice")
		check(err, path)
		_, err = s.SetAlias(ctx, "chain/voice", record, 1)
		check(err, path)
		check(s.Watch(ctx, func(functions.Alias) {}), path)
	}
}

// TestFolder_IsPrivate: nobody but the owner may read it.
func TestFolder_IsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, dir, "")
	if _, err := s.PutRecord(t.Context(), functions.RecordGraph, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetAlias(t.Context(), "chain/voice", functions.DigestOf(nil), 0); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
