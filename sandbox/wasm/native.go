package wasm

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
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
// another engine or processor is an error, by which Load has the version prepared anew. The engine finds damage to
// instructions, but not to the tables that say where functions begin: a sum of the whole file lies beside it.

// errDamaged is wrapped by errors about prepared files that are there and of no use, be they damaged or left by another
// build. They are prepared anew: it says nothing against the function.
var errDamaged = errors.New("damaged, or of another build")

// sumFile is beside the native code, in the module's folder of compiled code.
const sumFile = "sum"

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
	if checkNative(codeDir, key) == nil {
		return stub, key, nil // another version has the same module
	}
	if err := errors.Join(os.RemoveAll(compiled), os.RemoveAll(codeDir)); err != nil {
		return nil, "", err
	}
	name, err := compileTo(ctx, m, module, compiled)
	if err != nil {
		return nil, "", err
	}
	sum, err := sumOf(filepath.Join(compiled, name))
	if err != nil {
		return nil, "", err
	}
	native := filepath.Join(codeDir, key)
	if err := os.MkdirAll(filepath.Dir(native), 0o700); err != nil {
		return nil, "", err
	}
	if err := os.WriteFile(filepath.Join(codeDir, sumFile), []byte(sum), 0o600); err != nil {
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

// prepareNative sees to it that a module's native code lies in codeDir, and loads it. What lies there and is of no use is
// made once more.
func prepareNative(ctx context.Context, m *functions.Manifest, module []byte, codeDir, work string) (p *program, stub []byte, key string, err error) {
	for range 2 {
		if stub, key, err = compileNative(ctx, m, module, codeDir, work); err != nil {
			return nil, nil, "", err
		}
		if p, err = loadNative(ctx, m, stub, codeDir, key); err == nil {
			return p, stub, key, nil
		}
		if ctx.Err() != nil {
			return nil, nil, "", context.Cause(ctx)
		}
		if rerr := os.RemoveAll(codeDir); rerr != nil {
			return nil, nil, "", errors.Join(err, rerr)
		}
	}
	return nil, nil, "", fmt.Errorf("%w: function %s: its compiled code can't be loaded, though it is new: %w", functions.ErrColdStart, m.Name, err)
}

// loadNative loads a stub with the native code that is filed under key. Its error wraps errDamaged if that is of no use,
// and never what the engine says of it: the module is not at fault.
func loadNative(ctx context.Context, m *functions.Manifest, stub []byte, codeDir, key string) (*program, error) {
	if err := checkNative(codeDir, key); err != nil {
		return nil, err
	}
	before, err := os.Stat(filepath.Join(codeDir, key))
	if err != nil {
		return nil, fmt.Errorf("%w: compiled code: %v", errDamaged, err)
	}
	p, err := compile(ctx, m, stub, codeDir)
	if err != nil {
		return nil, fmt.Errorf("%w: compiled code: %v", errDamaged, err)
	}
	// An engine that could not use the file has compiled the stub, and has filed that.
	after, err := os.Stat(filepath.Join(codeDir, key))
	files, ferr := filesBelow(codeDir)
	if err != nil || ferr != nil || len(files) != 2 || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		return nil, errors.Join(fmt.Errorf("%w: the engine can't use the compiled code of function %s", errDamaged, m.Name), err, ferr, p.close())
	}
	return p, nil
}

// checkNative returns an error wrapping errDamaged unless a module's folder of compiled code holds the file of that key,
// whole, and nothing else.
func checkNative(codeDir, key string) error {
	files, err := filesBelow(codeDir)
	if err == nil && len(files) != 2 {
		err = fmt.Errorf("%d files, want two", len(files))
	}
	var want []byte
	if err == nil {
		want, err = os.ReadFile(filepath.Join(codeDir, sumFile))
	}
	var got string
	if err == nil {
		got, err = sumOf(filepath.Join(codeDir, key))
	}
	if err == nil && got != string(want) {
		err = errors.New("its sum has changed")
	}
	if err != nil {
		return fmt.Errorf("%w: compiled code: %v", errDamaged, err)
	}
	return nil
}

// sumOf returns the CRC-32C of a file as a text.
func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%08x\n", h.Sum32()), nil
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
