package wasm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
)

// childEnv makes the test binary a process that prepares, or one that fails at it.
const childEnv = "CATENARY_TEST_PREPARE"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		status := m.Run()
		if built.dir != "" {
			os.RemoveAll(built.dir)
		}
		os.Exit(status)
	case "crash":
		os.Stderr.WriteString("no memory left\n")
		os.Exit(2)
	case "hang":
		select {}
	}
	if err := PrepareMain(context.Background(), os.Stdin, os.Stdout); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

// built is what the tests share, in a folder that TestMain removes.
var built struct {
	mu    sync.Mutex // guards the fields below
	dir   string
	files map[string]string // by the name of what was built
}

// build returns the file that run made under that name, once for all tests.
func build(t testing.TB, name string, run func(out string)) string {
	t.Helper()
	built.mu.Lock()
	defer built.mu.Unlock()
	if file, ok := built.files[name]; ok {
		return file
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "catenary-wasm-test-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir, built.files = dir, map[string]string{}
	}
	file := filepath.Join(built.dir, name)
	run(file)
	built.files[name] = file
	return file
}

// goDriver returns a driver for guests that take long to compile: this test binary once more prepares them, built
// without the race detector, under which the compiler takes ten times as long. Log may be nil.
func goDriver(t testing.TB, log *slog.Logger) *Driver {
	t.Helper()
	return goDriverIn(t, t.TempDir(), log)
}

func goDriverIn(t testing.TB, dir string, log *slog.Logger) *Driver {
	t.Helper()
	preparer := build(t, "preparer", func(out string) {
		cmd := exec.Command("go", "test", "-c", "-o", out, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build the preparer: %v: %s", err, msg)
		}
	})
	d, err := New(Config{Dir: dir, Log: log, Prepare: func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, preparer)
		cmd.Env = append(os.Environ(), childEnv+"=well")
		return cmd
	}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func childDriver(t *testing.T, how string) *Driver {
	t.Helper()
	d, err := New(Config{Dir: t.TempDir(), Prepare: func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+how)
		return cmd
	}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPrepare_InAProcessOfItsOwn(t *testing.T) {
	artifact, m := reactor(echo()).write(t)
	code, img := load(t, childDriver(t, "well"), m, artifact)
	if !img.Captured {
		t.Errorf("not captured: %s", img.Why)
	}
	if _, err := serve(t, code, "value"); err != nil {
		t.Error(err)
	}

	bad := reactor(echo())
	bad.memName = "other"
	artifact, m = bad.write(t)
	if _, err := childDriver(t, "well").Prepare(t.Context(), m, artifact); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), "memory") {
		t.Errorf("a bad module: got %v, want functions.ErrInvalid", err)
	}
	if _, err := childDriver(t, "crash").Prepare(t.Context(), m, artifact); !errors.Is(err, functions.ErrColdStart) || !strings.Contains(err.Error(), "no memory left") {
		t.Errorf("a crash: got %v, want functions.ErrColdStart with its last words", err)
	}
	why := errors.New("deploy was cancelled")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := childDriver(t, "hang").Prepare(ctx, m, artifact); !errors.Is(err, why) {
		t.Errorf("cancelled: got %v, want the cause", err)
	}
}

func TestDriver_FindsWhatItPrepared(t *testing.T) {
	dir := t.TempDir()
	artifact, m := reactor(echo()).write(t)
	d, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	load(t, d, m, artifact)
	if n := d.prepares.Load(); n != 1 {
		t.Fatalf("%d preparations", n)
	}
	version := filepath.Join(dir, "versions", m.Digest().Hex())
	for _, test := range []struct {
		name     string
		damage   func(t *testing.T)
		prepares int64
	}{
		{"whole", func(*testing.T) {}, 0},
		{"half a preparation", func(t *testing.T) { mkdir(t, filepath.Join(dir, "versions", "unfinished-1")) }, 0},
		{"garbage in prepared.json", damageFile(version, preparedFile, func([]byte) []byte { return []byte("{") }), 1},
		{"another engine", damageFile(version, preparedFile, func(b []byte) []byte {
			return []byte(strings.Replace(string(b), "wazero", "wasmtime", 1))
		}), 1},
		{"a flipped bit in the stub", damageFile(version, stubFile, flip), 1},
		{"no stub", removeFile(version, stubFile), 1},
		{"a flipped bit in the image", damageFile(version, "image*", flip), 1},
		{"a short image", damageFile(version, "image*", func(b []byte) []byte { return b[:len(b)/2] }), 1},
		{"no image", removeFile(version, "image*"), 1},
		{"no compiled code", func(t *testing.T) {
			check(t, os.RemoveAll(filepath.Join(dir, "code")))
			mkdir(t, filepath.Join(dir, "code"))
		}, 1},
		// The engine takes a file of another version of itself for stale, and compiles what it was given: the stub.
		{"compiled code of another engine", func(t *testing.T) {
			damageFile(filepath.Join(dir, "code"), "*/*/*", func(b []byte) []byte {
				b[len("WAZEVO")+1] ^= 1 // its file begins with this, the length of its version, and the version
				return b
			})(t)
			sum(t, filepath.Join(dir, "code"))
		}, 1},
		{"compiled code that its engine refuses", func(t *testing.T) {
			damageFile(filepath.Join(dir, "code"), "*/*/*", flip)(t)
			sum(t, filepath.Join(dir, "code"))
		}, 1},
		// The engine would believe it, and jump anywhere.
		{"compiled code whose first function begins elsewhere", damageFile(filepath.Join(dir, "code"), "*/*/*", func(b []byte) []byte {
			b[len("WAZEVO")+1+int(b[len("WAZEVO")])+4] ^= 0x10 // after the version and the count of functions
			return b
		}), 1},
		{"no sum", removeFile(filepath.Join(dir, "code"), "*/"+sumFile), 1},
		// The engine looks for code of this processor, does not find it, and compiles: the stub, which must not count.
		{"compiled code of another processor", func(t *testing.T) {
			path := find(t, filepath.Join(dir, "code"), "*/*/*")
			check(t, os.Rename(path, path+"0"))
			check(t, os.Link(path+"0", path+"1"))
		}, 1},
		{"damaged compiled code", damageFile(filepath.Join(dir, "code"), "*/*/*", flip), 1},
		{"short compiled code", damageFile(filepath.Join(dir, "code"), "*/*/*", func(b []byte) []byte { return b[:len(b)/2] }), 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.damage(t)
			d, err := New(Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			code, img := load(t, d, m, artifact)
			if !img.Captured {
				t.Errorf("not captured: %s", img.Why)
			}
			if _, err := serve(t, code, "value"); err != nil {
				t.Error(err)
			}
			if n := d.prepares.Load(); n != test.prepares {
				t.Errorf("%d preparations, want %d", n, test.prepares)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "versions", unfinishedPrefix+"*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestDriver_AllFilesDamaged: damage to everything at once is noticed and mended at the first Prepare, with a child that
// finds what lies there and with none, and while the image is known. It never says that the function is invalid.
func TestDriver_AllFilesDamaged(t *testing.T) {
	artifact, m := reactor(echo()).write(t)
	for _, child := range []bool{false, true} {
		t.Run(fmt.Sprintf("child %v", child), func(t *testing.T) {
			d := childDriver(t, "well")
			if !child {
				d.cfg.Prepare = nil
			}
			_, img := load(t, d, m, artifact)
			for _, refused := range []bool{false, true} { // by the engine alone: the sum is right
				damage := func() {
					damageAll(t, d, img)
					if refused {
						sum(t, d.code)
					}
				}
				damage()
				code, img := load(t, d, m, artifact)
				if _, err := serve(t, code, "value"); err != nil || !img.Captured {
					t.Errorf("after Prepare: %v, captured %v", err, img.Captured)
				}
				damage()
				code, err := d.Load(t.Context(), img)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := serve(t, code, "value"); err != nil {
					t.Errorf("after Load: %v", err)
				}
				check(t, code.Close())
			}
		})
	}
}

// damageAll flips a bit in each file that was prepared.
func damageAll(t *testing.T, d *Driver, img *sandbox.Image) {
	t.Helper()
	damaged := 0
	for _, dir := range []string{img.Dir, d.code} {
		files, err := filesBelow(dir)
		check(t, err)
		for _, file := range files {
			damageFile(dir, file, flip)(t)
			damaged++
		}
	}
	if damaged != 5 {
		t.Fatalf("%d files, want image, prepared.json, stub, native code and its sum", damaged)
	}
}

// TestFind_PreparedFile flips every bit of prepared.json: it is refused, or says the same.
func TestFind_PreparedFile(t *testing.T) {
	d, err := New(Config{Dir: t.TempDir()})
	check(t, err)
	artifact, m := reactor(echo()).write(t)
	_, img := load(t, d, m, artifact)
	want, err := d.find(img)
	check(t, err)
	path := filepath.Join(img.Dir, preparedFile)
	whole, err := os.ReadFile(path)
	check(t, err)
	for bit := range 8 * len(whole) {
		b := slices.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		check(t, os.WriteFile(path, b, 0o600))
		got, err := d.find(img)
		if err == nil && *got != *want || err != nil && !errors.Is(err, errDamaged) {
			t.Fatalf("bit %d of byte %d (%q): got %+v, error %v", bit%8, bit/8, whole[bit/8], got, err)
		}
	}
}

func TestNew_KeepsItsFolderToItself(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wasm")
	check(t, os.Mkdir(dir, 0o755))
	if _, err := New(Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	}))
	if _, err := New(Config{}); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("no folder: got %v, want functions.ErrInvalid", err)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	check(t, os.Mkdir(dir, 0o700))
}

// find returns the one file that matches a pattern below dir.
func find(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, error %v", pattern, found, err)
	}
	return found[0]
}

func damageFile(dir, pattern string, how func([]byte) []byte) func(*testing.T) {
	return func(t *testing.T) {
		path := find(t, dir, pattern)
		b, err := os.ReadFile(path)
		check(t, err)
		check(t, os.Chmod(path, 0o600))
		check(t, os.WriteFile(path, how(b), 0o600))
	}
}

// sum makes the sum of the compiled code in dir right for what lies there.
func sum(t *testing.T, dir string) {
	t.Helper()
	got, err := sumOf(find(t, dir, "*/*/*"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(find(t, dir, "*"), sumFile), []byte(got), 0o600))
}

func removeFile(dir, pattern string) func(*testing.T) {
	return func(t *testing.T) { check(t, os.Remove(find(t, dir, pattern))) }
}

func flip(b []byte) []byte {
	b[len(b)/2] ^= 0x10
	return b
}
