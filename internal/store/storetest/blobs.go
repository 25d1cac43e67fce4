package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/catenary-run/catenary/functions"
)

// sizes are those at which a store that works in pieces could go wrong.
var sizes = []int{0, 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3<<20 + 17}

func someBytes(n int) []byte {
	b := make([]byte, n)
	io.ReadFull(rand.NewChaCha8([32]byte{byte(n)}), b) // never fails
	return b
}

func put(t *testing.T, s Store, data []byte) functions.Digest {
	t.Helper()
	d := functions.DigestOf(data)
	n, err := s.Put(t.Context(), d, bytes.NewReader(data))
	if err != nil || n != int64(len(data)) {
		t.Fatalf("Put of %d bytes: got %d, %v", len(data), n, err)
	}
	return d
}

func mustRead(t *testing.T, s Store, d functions.Digest, want []byte) {
	t.Helper()
	r, size, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	if size != int64(len(want)) || !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes with size %d, want the %d that were put", len(got), size, len(want))
	}
}

func mustMiss(t *testing.T, s Store, d functions.Digest) {
	t.Helper()
	if _, _, err := s.Open(t.Context(), d); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("Open: got %v, want ErrNotFound", err)
	}
	if _, err := s.Path(t.Context(), d); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("Path: got %v, want ErrNotFound", err)
	}
}

func blobComesBack(t *testing.T, open Backend) {
	s := open(t)
	for _, n := range sizes {
		data := someBytes(n)
		mustRead(t, s, put(t, s, data), data)
	}
}

func blobIsSeenByTheOtherStore(t *testing.T, open Backend) {
	one, two := open(t), open(t)
	data := someBytes(2<<20 + 5)
	d := put(t, one, data)
	mustRead(t, two, d, data)
	if _, err := two.Path(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	mustRead(t, two, d, data)
}

func wrongDigestKeepsNothing(t *testing.T, open Backend) {
	s := open(t)
	for _, n := range sizes {
		want := digest(fmt.Sprint("other bytes than", n))
		if _, err := s.Put(t.Context(), want, bytes.NewReader(someBytes(n))); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("%d bytes: got %v, want ErrInvalid", n, err)
		}
		mustMiss(t, s, want)
		mustMiss(t, s, functions.DigestOf(someBytes(n)))
	}
	if _, err := s.Put(t.Context(), "../x", bytes.NewReader(nil)); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("no digest: got %v, want ErrInvalid", err)
	}
}

func failedReaderKeepsNothing(t *testing.T, open Backend) {
	s := open(t)
	broken := errors.New("the line broke")
	data := someBytes(1<<20 + 100)
	r := io.MultiReader(bytes.NewReader(data), readerFunc(func([]byte) (int, error) { return 0, broken }))
	if _, err := s.Put(t.Context(), functions.DigestOf(data), r); !errors.Is(err, broken) {
		t.Errorf("got %v, want the reader's error", err)
	}
	mustMiss(t, s, functions.DigestOf(data))
	mustRead(t, s, put(t, s, data), data)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func blobPutTwice(t *testing.T, open Backend) {
	s := open(t)
	data := someBytes(1<<20 + 1)
	d := put(t, s, data)
	put(t, s, data)
	if _, err := s.Put(t.Context(), d, bytes.NewReader(data[1:])); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("other bytes for a blob that is there: got %v, want ErrInvalid", err)
	}
	mustRead(t, s, d, data)
}

func blobsPutSideBySide(t *testing.T, open Backend) {
	one, two := open(t), open(t)
	data := someBytes(1<<20 + 1)
	d := functions.DigestOf(data)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			s := []Store{one, two}[i%2]
			sent := data
			if i >= 4 { // a liar among them does no harm
				sent = someBytes(1 << 20)
			}
			_, err := s.Put(t.Context(), d, bytes.NewReader(sent))
			if lied := errors.Is(err, functions.ErrInvalid); lied != (i >= 4) || (!lied && err != nil) {
				t.Errorf("writer %d: got %v", i, err)
			}
		})
	}
	wg.Wait()
	mustRead(t, one, d, data)
	mustRead(t, two, d, data)
}

func pathIsTheBlob(t *testing.T, open Backend) {
	one, two := open(t), open(t)
	data := someBytes(2<<20 + 1)
	d := put(t, one, data)
	paths := make([]string, 5)
	var wg sync.WaitGroup
	for i := range paths {
		wg.Go(func() {
			var err error
			if paths[i], err = two.Path(t.Context(), d); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, p := range paths {
		if p != paths[0] {
			t.Fatalf("got paths %s and %s, want one", p, paths[0])
		}
	}
	got, err := os.ReadFile(paths[0])
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("got %d bytes, %v; want the %d that were put", len(got), err, len(data))
	}
	if info, err := os.Stat(paths[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v; want mode 0600", info.Mode(), err)
	}
}

func missingBlob(t *testing.T, open Backend) {
	s := open(t)
	mustMiss(t, s, digest("nobody put this"))
	if _, _, err := s.Open(t.Context(), "../../etc/passwd"); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("Open: got %v, want ErrInvalid", err)
	}
	if _, err := s.Path(t.Context(), "../../etc/passwd"); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("Path: got %v, want ErrInvalid", err)
	}
}

// largeBlobStreams moves 64 MiB that exist nowhere as a whole, and counts how many bytes this process has to allocate
// meanwhile: to receive them once from a server takes 64 MiB, in pieces, so the bounds are a little above that. A
// server inside this process (a fake one) would hold the blob itself, and its [Backend] must not be in the way of the
// count: such a suite runs with a real server too.
func largeBlobStreams(t *testing.T, open Backend) {
	const size = 64 << 20
	s := open(t)
	ctx := t.Context()
	d, _, err := functions.DigestFrom(made(size))
	if err != nil {
		t.Fatal(err)
	}
	_, fake := s.(interface{ ServerInProcess() })
	count := func(what string, limit uint64, do func() error) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > limit && !fake {
			t.Errorf("%s allocated %d MiB in all, want at most %d", what, got>>20, limit>>20)
		}
	}
	count("Put", 16<<20, func() error {
		_, err := s.Put(ctx, d, made(size))
		return err
	})
	count("Open", size+16<<20, func() error {
		r, n, err := s.Open(ctx, d)
		if err != nil {
			return err
		}
		got, read, err := functions.DigestFrom(r)
		if n != size || read != size || got != d {
			return fmt.Errorf("got %d bytes of size %d with digest %s: %w", read, n, got, err)
		}
		return errors.Join(err, r.Close())
	})
	count("Path", size+16<<20, func() error {
		_, err := s.Path(ctx, d)
		return err
	})
}

// made yields size bytes that are made when they are read.
func made(size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{'l', 'a', 'r', 'g', 'e'}), size)
}

func endedContext(t *testing.T, open Backend) {
	s := open(t)
	gone := errors.New("the caller is gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	data := []byte("x")
	d := functions.DigestOf(data)
	_, recordErr := s.Record(ctx, functions.RecordGraph, d)
	_, aliasErr := s.Alias(ctx, "chain/voice")
	_, listErr := s.Aliases(ctx, "")
	_, setErr := s.SetAlias(ctx, "chain/voice", d, 0)
	_, putErr := s.Put(ctx, d, bytes.NewReader(data))
	_, _, openErr := s.Open(ctx, d)
	_, pathErr := s.Path(ctx, d)
	for what, err := range map[string]error{
		"Record": recordErr, "Alias": aliasErr, "Aliases": listErr, "SetAlias": setErr, "Put": putErr, "Open": openErr, "Path": pathErr,
	} {
		if !errors.Is(err, gone) {
			t.Errorf("%s: got %v, want the cause of its context", what, err)
		}
	}
}
