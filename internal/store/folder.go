package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/catenary-run/catenary/functions"
)

// folder is the store in a folder.
type folder struct {
	blobFolder
	root string

	mu      sync.Mutex    // guards changed
	changed chan struct{} // closed and replaced when this Store moves an alias
}

func newFolder(root string) (*folder, error) {
	f := &folder{root: root, changed: make(chan struct{})}
	f.files = files{newFileLock(filepath.Join(root, "lock"))}
	f.dir = filepath.Join(root, "blobs")
	dirs := []string{f.root, f.dir}
	for _, kind := range []functions.RecordKind{functions.RecordManifest, functions.RecordModel, functions.RecordGraph} {
		dirs = append(dirs, filepath.Join(root, "records", string(kind)))
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	if err := f.sweep(context.Background(), dirs...); err != nil {
		return nil, err
	}
	return f, nil
}

// Ping returns an error if the folder is gone.
func (f *folder) Ping(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, err := os.Stat(f.dir); err != nil {
		return fmt.Errorf("store: %w: %w", functions.ErrUnavailable, err)
	}
	return nil
}

// String returns the folder's path.
func (f *folder) String() string { return f.root }

// Close does nothing: a folder store holds no file open between calls.
func (f *folder) Close() error { return nil }

func (f *folder) recordFile(kind functions.RecordKind, d functions.Digest) string {
	return filepath.Join(f.root, "records", string(kind), d.Hex()+".json")
}

// PutRecord implements [functions.Catalogue].
func (f *folder) PutRecord(ctx context.Context, kind functions.RecordKind, data []byte) (functions.Digest, error) {
	if err := checkRecordData(kind, data); err != nil {
		return "", err
	}
	d := functions.DigestOf(data)
	path := f.recordFile(kind, d)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return d, nil
	}
	t, err := f.create(ctx, filepath.Dir(path))
	if err != nil {
		return "", err
	}
	defer t.discard()
	if _, err := t.Write(data); err != nil {
		return "", fmt.Errorf("store: %w", err)
	}
	return d, t.commit(path)
}

// Record implements [functions.Catalogue].
func (f *folder) Record(ctx context.Context, kind functions.RecordKind, d functions.Digest) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	d, err := checkRecordRef(kind, d)
	if err != nil {
		return nil, err
	}
	path := f.recordFile(kind, d)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoRecord(kind, d)
	}
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return checkRecord(kind, d, data, path)
}

// Alias implements [functions.Catalogue].
func (f *folder) Alias(ctx context.Context, name string) (functions.Alias, error) {
	if ctx.Err() != nil {
		return functions.Alias{}, context.Cause(ctx)
	}
	if err := checkAliasName(name); err != nil {
		return functions.Alias{}, err
	}
	all, err := f.readAliases()
	if err != nil {
		return functions.Alias{}, err
	}
	if i, ok := find(all, name); ok {
		return all[i], nil
	}
	return functions.Alias{}, fmt.Errorf("%w: no alias %s", functions.ErrNotFound, name)
}

// Aliases implements [functions.Catalogue].
func (f *folder) Aliases(ctx context.Context, prefix string) ([]functions.Alias, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	all, err := f.readAliases()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(a functions.Alias) bool { return !strings.HasPrefix(a.Name, prefix) }), nil
}

// SetAlias implements [functions.Catalogue].
func (f *folder) SetAlias(ctx context.Context, name string, d functions.Digest, rev uint64) (functions.Alias, error) {
	next, err := nextAlias(name, d, rev)
	if err != nil {
		return functions.Alias{}, err
	}
	err = f.lock.hold(ctx, func() error {
		all, err := f.readAliases()
		if err != nil {
			return err
		}
		i, ok := find(all, name)
		switch {
		case !ok && rev != 0:
			return errConflict(name, rev, 0)
		case ok && all[i].Rev != rev:
			return errConflict(name, rev, all[i].Rev)
		case ok:
			all[i] = next
		default:
			all = slices.Insert(all, i, next)
		}
		return f.writeAliases(all)
	})
	if err != nil {
		return functions.Alias{}, err
	}
	f.mu.Lock()
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
	return next, nil
}

func find(sorted []functions.Alias, name string) (int, bool) {
	return slices.BinarySearchFunc(sorted, name, func(a functions.Alias, name string) int { return strings.Compare(a.Name, name) })
}

func (f *folder) aliasFile() string { return filepath.Join(f.root, "aliases.json") }

// readAliases returns all aliases, sorted by name. The file is replaced as a whole, so no lock is needed to read it.
func (f *folder) readAliases() ([]functions.Alias, error) {
	data, err := os.ReadFile(f.aliasFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	all, err := parseAliases(data)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; restore it, or delete it and deploy again", f.aliasFile(), err)
	}
	return all, nil
}

func parseAliases(data []byte) ([]functions.Alias, error) {
	var all []functions.Alias
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	for i, a := range all {
		if err := checkAlias(a); err != nil {
			return nil, err
		}
		if i > 0 && all[i-1].Name >= a.Name {
			return nil, fmt.Errorf("%q is out of order", a.Name)
		}
	}
	return all, nil
}

// writeAliases replaces the file; the lock is held.
func (f *folder) writeAliases(all []functions.Alias) error {
	data, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	t, err := createTemp(f.root)
	if err != nil {
		return err
	}
	defer t.discard()
	if _, err := t.Write(data); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return t.commit(f.aliasFile())
}
