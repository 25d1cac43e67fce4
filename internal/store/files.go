package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tempPrefix begins the names of files that are not whole yet.
const tempPrefix = ".catenary-tmp-"

// files writes whole files: beside their place, synced, then renamed. A file that is being written is flocked, so that
// sweep can tell it from one that a killed process left.
type files struct{ lock *fileLock }

// temp is a file on its way. Exactly one of commit and discard ends it; discard after commit does nothing.
type temp struct {
	*os.File
	done bool
}

// create starts a file in dir. The folder's lock is held meanwhile: sweep must not meet a file that exists and is
// not flocked yet.
func (fl files) create(ctx context.Context, dir string) (*temp, error) {
	var t *temp
	err := fl.lock.hold(ctx, func() (err error) {
		t, err = createTemp(dir)
		return err
	})
	return t, err
}

// createTemp is create for a caller that holds the lock.
func createTemp(dir string) (*temp, error) {
	f, err := os.CreateTemp(dir, tempPrefix+"*") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	t := &temp{File: f}
	got, err := tryFlock(f)
	if err == nil && !got {
		err = errors.New("somebody else locked a new file")
	}
	if err != nil {
		t.discard()
		return nil, fmt.Errorf("store: lock %s: %w", f.Name(), err)
	}
	return t, nil
}

// commit makes the file appear at path, whole and on disk, in place of what was there.
func (t *temp) commit(path string) error {
	t.done = true
	err := t.Sync()
	if err == nil {
		err = os.Rename(t.Name(), path)
	}
	if err != nil {
		os.Remove(t.Name())
	}
	if err = errors.Join(err, t.Close()); err != nil {
		return fmt.Errorf("store: write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// discard removes the file.
func (t *temp) discard() {
	if t.done {
		return
	}
	t.done = true
	os.Remove(t.Name())
	t.Close()
}

// syncDir puts the names of a folder on disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("store: sync %s: %w", dir, err)
	}
	return nil
}

// sweep removes from dirs what killed processes left half-written. Files that somebody still writes stay.
func (fl files) sweep(ctx context.Context, dirs ...string) error {
	return fl.lock.hold(ctx, func() error {
		for _, dir := range dirs {
			entries, err := os.ReadDir(dir)
			if err != nil {
				return fmt.Errorf("store: %w", err)
			}
			for _, e := range entries {
				if !strings.HasPrefix(e.Name(), tempPrefix) || !e.Type().IsRegular() {
					continue
				}
				if err := sweepFile(filepath.Join(dir, e.Name())); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func sweepFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its writer has just finished
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer f.Close()
	abandoned, err := tryFlock(f)
	if err != nil {
		return fmt.Errorf("store: lock %s: %w", path, err)
	}
	if !abandoned {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}
