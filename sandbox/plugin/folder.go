package plugin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// folder is the folder of one instance: nobody but the node may enter it. Inside is that of the plugin's socket. It is
// locked while the node lives, so that another process can tell a folder that is left over.
type folder struct {
	path string
	lock *os.File // the open folder
}

func newFolder(parent string) (*folder, error) {
	for range 10 {
		path, err := os.MkdirTemp(parent, "i-")
		if err != nil {
			return nil, err
		}
		lock, err := lockFolder(path)
		if err == nil {
			return &folder{path: path, lock: lock}, nil
		}
		// A process that sweeps found it before it was locked.
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, os.ErrNotExist) {
			return nil, errors.Join(err, os.RemoveAll(path))
		}
	}
	return nil, fmt.Errorf("socket folder in %s: it is removed again and again", parent)
}

// lockFolder opens a folder and locks it. It returns an error wrapping syscall.EWOULDBLOCK if another process holds it,
// and os.ErrNotExist if it is gone.
func lockFolder(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// remove removes the folder and all in it.
func (f *folder) remove() error { return errors.Join(os.RemoveAll(f.path), f.lock.Close()) }

// sweepFolders removes the folders whose processes are gone.
func sweepFolders(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(parent, e.Name())
		lock, err := lockFolder(path)
		if err != nil {
			continue // in use, or gone meanwhile
		}
		if err := (&folder{path: path, lock: lock}).remove(); err != nil {
			return fmt.Errorf("plugin driver: left-over socket folder: %w", err)
		}
	}
	return nil
}
