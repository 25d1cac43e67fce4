package main

import (
	"os"
	"path/filepath"
	"syscall"
)

// scratch is a folder for the sockets of one serving process: short, since a socket's path must be, and private. A
// process that is killed leaves its folder; the next one that starts removes it.
type scratch struct {
	dir  string
	lock *os.File // the kernel frees the lock when the process dies
}

const scratchPattern = "catenary-run-*"

func newScratch() (*scratch, error) {
	sweepScratch()
	dir, err := os.MkdirTemp("", scratchPattern)
	if err != nil {
		return nil, err
	}
	lock, err := lockFile(dir)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return &scratch{dir, lock}, nil
}

func (s *scratch) remove() {
	os.RemoveAll(s.dir)
	s.lock.Close()
}

// lockFile takes the lock of a scratch folder, or returns an error if its process lives.
func lockFile(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweepScratch removes the folders of processes that are gone.
func sweepScratch() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), scratchPattern))
	if err != nil {
		panic(err) // the pattern is wrong
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "lock")); err != nil {
			continue // somebody is just making it
		}
		if lock, err := lockFile(dir); err == nil {
			os.RemoveAll(dir)
			lock.Close()
		}
	}
}
