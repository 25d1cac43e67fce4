package cudatest

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebitengine/purego"

	"github.com/catenary-run/catenary/internal/testkit"
)

//go:embed fake
var sources embed.FS

// State of an address.
const (
	Foreign = 0 // not the device's
	Usable  = 1
	Gone    = 2 // reserved, without memory
)

// Codes that tests make calls fail with. They are CUDA's.
const (
	OutOfMemory       = 2
	DeviceUnavailable = 46
)

// Fake is the control of the fake in this process. Its functions may be called from any goroutine.
type Fake struct {
	Dir string // of the libraries

	SetMemory     func(bytes uint64)                   // of the device; 80 GiB at first
	SetCapability func(major, minor int32)             // 9.0 at first
	SetVersion    func(v int32)                        // of the driver; 13000 at first
	SetStale      func(b int32)                        // what fresh memory is full of; -1, at first, stands for zeros
	Fail          func(call string, after, code int32) // makes one call fail, after so many that go well
	Corrupt       func(after int32)                    // has one copy to the device change a bit, after so many that go well
	Lose          func(code int32)                     // all calls fail from now on
	Counted       func(what string) uint64             // launches, captures, bad_pointers, ...
	Used          func() uint64                        // bytes of device memory
	State         func(addr uintptr) int32             // Foreign, Usable or Gone
	Contexts      func() int32                         // how many the calling thread has pushed
}

// Load compiles the fake, unless that was done before, and loads it. It stays loaded.
func Load(t testing.TB) *Fake {
	t.Helper()
	f := &Fake{Dir: build(t)}
	for _, name := range []string{"libcuda.so.1", "libcudart.so.13", "libcublas.so.13"} {
		// Loaded by path once, they are found by name when an engine asks for them.
		lib, err := purego.Dlopen(filepath.Join(f.Dir, name), purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err != nil {
			t.Fatal(err)
		}
		if name == "libcuda.so.1" {
			f.bind(lib)
		}
	}
	return f
}

func (f *Fake) bind(lib uintptr) {
	for name, fn := range map[string]any{
		"fake_set_memory": &f.SetMemory, "fake_set_capability": &f.SetCapability, "fake_set_version": &f.SetVersion,
		"fake_set_stale": &f.SetStale, "fake_fail": &f.Fail, "fake_corrupt": &f.Corrupt, "fake_lose": &f.Lose, "fake_counted": &f.Counted,
		"fake_used": &f.Used, "fake_ptr": &f.State, "fake_contexts": &f.Contexts,
	} {
		purego.RegisterLibFunc(fn, lib, name)
	}
}

// recipe is how each library is made, in order.
var recipe = []struct {
	name  string
	files []string
	node  bool // its symbols have a version node of its name, as the real one's do
	uses  []string
}{
	{"libcuda.so.1", []string{"memory.c", "stream.c", "driver.c"}, false, nil},
	{"libcudart.so.13", []string{"runtime.c"}, true, []string{"libcuda.so.1"}},
	{"libcublas.so.13", []string{"cublas.c"}, true, []string{"libcuda.so.1"}},
}

// build compiles the libraries into a folder below .build that is named after the sources, and returns it.
func build(t testing.TB) string {
	t.Helper()
	sum := sha256.New()
	err := fs.WalkDir(sources, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := sources.ReadFile(path)
		fmt.Fprintf(sum, "%s %d %s", path, len(text), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(testkit.Root(t), ".build")
	dir := filepath.Join(base, fmt.Sprintf("fake-cuda-%x", sum.Sum(nil)[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp(base, "fake-cuda-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	if err := os.CopyFS(work, sources); err != nil {
		t.Fatal(err)
	}
	compiler := "gcc"
	if _, err := exec.LookPath(compiler); err != nil {
		compiler = "clang"
	}
	for _, lib := range recipe {
		args := []string{"-O1", "-g", "-std=gnu11", "-shared", "-fPIC", "-Wall", "-Werror", "-o", lib.name, "-Wl,-soname," + lib.name}
		if lib.node {
			script := filepath.Join(work, lib.name+".map")
			if err := os.WriteFile(script, []byte(lib.name+" { global: *; };\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			args = append(args, "-Wl,--version-script,"+script)
		}
		for _, file := range lib.files {
			args = append(args, filepath.Join("fake", file))
		}
		cmd := exec.Command(compiler, append(append(args, lib.uses...), "-ldl", "-lpthread")...)
		cmd.Dir = work
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v (apt-get install gcc libc6-dev)\n%s", compiler, lib.name, err, strings.TrimSpace(string(msg)))
		}
	}
	// Whoever comes first wins: another process may have built the same.
	if err := os.Rename(work, dir); err != nil {
		if _, statErr := os.Stat(dir); statErr != nil {
			t.Fatal(err)
		}
	}
	return dir
}
