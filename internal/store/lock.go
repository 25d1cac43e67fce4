package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lockRetry is how long to wait before the kernel is asked again for a lock that another process holds. Holders only
// write one small file, so a wait is short; asking, instead of blocking in the kernel, lets ctx end it.
const lockRetry = 2 * time.Millisecond

// fileLock excludes goroutines and processes from one another by flock on one file. The kernel frees it when its
// holder dies.
type fileLock struct {
	path string
	turn chan struct{} // holds one token while a goroutine of this process has, or asks for, the lock
}

func newFileLock(path string) *fileLock {
	return &fileLock{path: path, turn: make(chan struct{}, 1)}
}

// hold calls do while the lock is held.
func (l *fileLock) hold(ctx context.Context, do func() error) error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if ctx.Err() != nil { // a free turn may have won over an ended context
		return context.Cause(ctx)
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer f.Close() // and with it the lock
	for {
		got, err := tryFlock(f)
		if err != nil {
			return fmt.Errorf("store: lock %s: %w", l.path, err)
		}
		if got {
			return do()
		}
		select {
		case <-time.After(lockRetry):
		case <-ctx.Done():
			return fmt.Errorf("store: wait for %s, which another process holds: %w", l.path, context.Cause(ctx))
		}
	}
}

// tryFlock takes an exclusive lock on f, which ends when f is closed, or reports that somebody else has one.
func tryFlock(f *os.File) (bool, error) {
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, err
		}
	}
}
