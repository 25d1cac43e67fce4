package wasm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/rewrite"
)

// The engine files native code under a key of the module's bytes, and on a hit still decodes and validates every
// function body: more than half of the time that it takes to load a Go guest. The native code needs none of it. So a
// version is loaded as a stub, the module without its bodies, and its native code is filed under the stub's key.
//
// A stub must never be compiled, since it would trap at once. So native code that is missing, damaged, or made for
// another engine or processor is an error, by which Load has the version prepared anew.

// compileNative makes the stub of a module and sees to it that the module's native code lies in codeDir under the
// stub's key, which it returns as a path below codeDir. Work is a folder for what is in between.
func compileNative(ctx context.Context, m *functions.Manifest, module []byte, codeDir, work string) (stub []byte, key string, err error) {
	if stub, err = rewrite.Stub(module); err != nil {
		return nil, "", err
	}
	compiled := filepath.Join(work, "compiled")
	defer func() { err = errors.Join(err, os.RemoveAll(compiled)) }()
	// Only the engine knows the key. It tells by compiling the stub, which is next to no work.
	if key, err = compileTo(ctx, m, stub, compiled); err != nil {
		return nil, "", err
	}
	native := filepath.Join(codeDir, key)
	if _, err := os.Stat(native); err == nil {
		return stub, key, nil // another version has the same module
	}
	if err := os.RemoveAll(compiled); err != nil {
		return nil, "", err
	}
	name, err := compileTo(ctx, m, module, compiled)
	if err != nil {
		return nil, "", err
	}
	if err := os.MkdirAll(filepath.Dir(native), 0o700); err != nil {
		return nil, "", err
	}
	return stub, key, os.Rename(filepath.Join(compiled, name), native)
}

// compileTo compiles a module and returns the one file that the engine leaves below dir.
func compileTo(ctx context.Context, m *functions.Manifest, module []byte, dir string) (string, error) {
	p, err := compile(ctx, m, module, dir)
	if err != nil {
		return "", err
	}
	if err := p.close(); err != nil {
		return "", err
	}
	files, err := filesBelow(dir)
	if err == nil && len(files) != 1 {
		err = fmt.Errorf("the engine left %d files of compiled code, want one", len(files))
	}
	if err != nil {
		return "", err
	}
	return files[0], nil
}

// loadNative loads a stub with the native code that is filed under key. Its error wraps functions.ErrInvalid if that
// is of no use.
func loadNative(ctx context.Context, m *functions.Manifest, stub []byte, codeDir, key string) (*program, error) {
	before, err := os.Stat(filepath.Join(codeDir, key))
	if err != nil {
		return nil, fmt.Errorf("compiled code: %w", err)
	}
	p, err := compile(ctx, m, stub, codeDir)
	if err != nil {
		return nil, err
	}
	// An engine that could not use the file has compiled the stub, and has filed that.
	after, err := os.Stat(filepath.Join(codeDir, key))
	files, ferr := filesBelow(codeDir)
	if err != nil || ferr != nil || len(files) != 1 || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		return nil, errors.Join(fmt.Errorf("%w: the engine can't use the compiled code of function %s", functions.ErrInvalid, m.Name), err, ferr, p.close())
	}
	return p, nil
}

// filesBelow returns the paths of all files below dir, relative to it.
func filesBelow(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		files = append(files, rel)
		return err
	})
	return files, err
}
