package store

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/catenary-run/catenary/functions"
)

// Store is a catalogue and blobs on one backend: a folder or Redis. It may be used from many goroutines, and by many
// processes at once.
type Store struct {
	backend
	whole sync.Map // what Whole has read: fs.FileInfo by digest
}

type backend interface {
	functions.Catalogue
	functions.Blobs
	// Ping returns an error wrapping [functions.ErrUnavailable] if the backend does not answer.
	Ping(ctx context.Context) error
	// String names the backend for people, without secrets.
	String() string
	// Close ends connections. Calls that still run fail.
	Close() error
}

// Open returns the store that url names: "redis://[[user]:password@]host[:port][/db]" or "rediss://" for Redis, a path
// or "file://" URL for a folder. The folder dir is this node's own: it is the store if url is empty, and it holds what
// Path has fetched if the store is elsewhere. Open does not talk to Redis yet; Ping does.
func Open(url, dir string) (*Store, error) {
	scheme, rest, isURL := strings.Cut(url, "://")
	var b backend
	var err error
	switch {
	case isURL && (scheme == "redis" || scheme == "rediss"):
		b, err = openRedis(url, dir)
	case isURL && scheme == "file":
		b, err = openFolder(rest)
	case isURL:
		err = fmt.Errorf("%w: store scheme %q is unknown: use a folder, redis:// or rediss://", functions.ErrInvalid, clip(scheme))
	case url == "":
		b, err = openFolder(dir)
	default:
		b, err = openFolder(url)
	}
	if err != nil {
		return nil, err
	}
	return &Store{backend: b}, nil
}

// Whole is Path for a file whose bytes nobody else checks: it reads them all, the first time and whenever the file is
// another than then.
func (s *Store) Whole(ctx context.Context, d functions.Digest) (string, error) {
	for again := false; ; again = true {
		path, err := s.Path(ctx, d)
		if err != nil {
			return "", err
		}
		info, err := os.Stat(path)
		if err != nil {
			return "", fmt.Errorf("blob %s: %w", d, err)
		}
		if known, ok := s.whole.Load(d); ok {
			if was := known.(os.FileInfo); os.SameFile(was, info) && was.Size() == info.Size() && was.ModTime().Equal(info.ModTime()) {
				return path, nil
			}
		}
		damaged, err := s.Verify(ctx, d)
		if err != nil {
			return "", err
		}
		if damaged && !again {
			continue // it is fetched anew
		}
		s.whole.Store(d, info)
		return path, nil
	}
}

func openFolder(dir string) (backend, error) {
	if dir == "" {
		return nil, fmt.Errorf("%w: the store has no folder: give a path", functions.ErrInvalid)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return newFolder(dir)
}

// maxRecordBytes bounds a record, which is read whole. Manifests and graphs have a few kilobytes.
const maxRecordBytes = 16 << 20

// maxAliasName is the longest name of an alias in bytes: a kind, a slash and a name of at most 63, with room to grow.
const maxAliasName = 200

func checkKind(kind functions.RecordKind) error {
	known := []functions.RecordKind{functions.RecordManifest, functions.RecordModel, functions.RecordGraph}
	if !slices.Contains(known, kind) {
		return fmt.Errorf("%w: record kind %q is none of manifest, model, graph", functions.ErrInvalid, clip(string(kind)))
	}
	return nil
}

func checkRecordRef(kind functions.RecordKind, d functions.Digest) (functions.Digest, error) {
	if err := checkKind(kind); err != nil {
		return "", err
	}
	return functions.ParseDigest(string(d))
}

func checkRecordData(kind functions.RecordKind, data []byte) error {
	if err := checkKind(kind); err != nil {
		return err
	}
	if len(data) == 0 || len(data) > maxRecordBytes {
		return fmt.Errorf("%w: a %s record of %d bytes: it must have 1 to %d", functions.ErrInvalid, kind, len(data), maxRecordBytes)
	}
	return nil
}

// checkAliasName allows lower-case path-like names: what a person can type and a log can print.
func checkAliasName(name string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-_./"
	if name == "" || len(name) > maxAliasName || strings.Trim(name, allowed) != "" {
		return fmt.Errorf("%w: alias %q: use 1 to %d lower-case letters, digits and - _ . /", functions.ErrInvalid, clip(name), maxAliasName)
	}
	return nil
}

func checkAlias(a functions.Alias) error {
	if err := checkAliasName(a.Name); err != nil {
		return err
	}
	if a.Rev == 0 {
		return fmt.Errorf("%w: alias %q has no revision", functions.ErrInvalid, a.Name)
	}
	_, err := functions.ParseDigest(string(a.Digest))
	return err
}

// nextAlias returns the alias as it is once it has moved from revision rev to d.
func nextAlias(name string, d functions.Digest, rev uint64) (functions.Alias, error) {
	d, err := functions.ParseDigest(string(d))
	if err != nil {
		return functions.Alias{}, err
	}
	next := functions.Alias{Name: name, Digest: d, Rev: rev + 1}
	return next, checkAlias(next)
}

// checkRecord returns data if it has the digest that it is stored under.
func checkRecord(kind functions.RecordKind, d functions.Digest, data []byte, place string) ([]byte, error) {
	if got := functions.DigestOf(data); got != d {
		return nil, fmt.Errorf("record %s %s is damaged: its bytes have digest %s; delete %s and deploy again", kind, d, got, place)
	}
	return data, nil
}

func errNoRecord(kind functions.RecordKind, d functions.Digest) error {
	return fmt.Errorf("%w: no %s record %s", functions.ErrNotFound, kind, d)
}

func errNoBlob(d functions.Digest) error {
	return fmt.Errorf("%w: no blob %s", functions.ErrNotFound, d)
}

func errConflict(name string, want, have uint64) error {
	return fmt.Errorf("alias %s: %w: it is at revision %d, not %d; read it again and decide anew", name, functions.ErrConflict, have, want)
}

// ctxReader ends a copy when ctx does: between two reads, since a plain reader can't be woken.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// clip shortens what somebody else wrote, for an error's text.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
