package llama

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/ebitengine/purego"
	"github.com/hybridgroup/yzma/pkg/llama"
	"golang.org/x/sys/unix"

	"github.com/catenary-run/catenary/functions"
	_ "github.com/catenary-run/catenary/gpu/llama/libffi" // says what to install, where the binding would panic
)

// The pinned pair. See the package's doc.
const (
	Release  = "v0.5.0"       // of llama.cpp
	Bindings = "yzma v1.28.0" // made for it
	npm      = "3.22.1"       // the version of the npm packages that ship it
)

// Config of an engine.
type Config struct {
	// LibDir is the folder of libllama and its backends. It is only read.
	LibDir string
	// LinkDir is an existing private folder. Open makes a folder of links in it and removes it again.
	LinkDir string
}

// Engine is the loaded library. It may be used from many goroutines.
type Engine struct {
	loading sync.Mutex // one load at a time, so that the log's lines belong to it
	log     *logTail
	maker   *maker
}

// Open loads libllama. A process may do so once. It returns an error wrapping [functions.ErrNoDevice] that says what to
// install if the folder does not hold the one release that the bindings were made for.
func Open(cfg Config) (*Engine, error) {
	libs, err := findLibraries(cfg.LibDir)
	if err != nil {
		return nil, err
	}
	links, err := linkLibraries(libs, cfg.LinkDir)
	if err != nil {
		return nil, fmt.Errorf("link libllama: %w", err)
	}
	defer os.RemoveAll(links) // whatever is loaded stays mapped
	if err := llama.Load(links); err != nil {
		return nil, noEngine("libllama in %s can't be loaded: %v", cfg.LibDir, err)
	}
	maker, err := newMaker(links)
	if err != nil {
		return nil, noEngine("libllama in %s lacks what is needed: %v", cfg.LibDir, err)
	}
	e := &Engine{log: &logTail{}, maker: maker}
	llama.LogSet(purego.NewCallback(e.log.line))
	llama.Init()
	if llama.GGMLBackendDeviceByType(llama.GGMLBackendDeviceTypeCPU) == 0 {
		return nil, noEngine("libllama in %s found no CPU backend (libggml-cpu-*) that this machine can run", cfg.LibDir)
	}
	return e, nil
}

// Version names the pair.
func (e *Engine) Version() string { return "llama.cpp " + Release + ", " + Bindings }

// noEngine is an error with the remedy.
func noEngine(format string, args ...any) error {
	pkg := map[string]string{
		"linux/amd64":  "linux-x64",
		"linux/arm64":  "linux-arm64",
		"darwin/arm64": "mac-arm64-metal",
	}[runtime.GOOS+"/"+runtime.GOARCH]
	return fmt.Errorf("%w: "+format+"; npm install @node-llama-cpp/%s@%s (llama.cpp %s) and give its folder below bins as --llama-lib",
		append(append([]any{functions.ErrNoDevice}, args...), pkg, npm, Release)...)
}

// libraries maps the names that the loader or the bindings ask for to files.
type libraries map[string]string

// suffix of a shared library here.
func suffix() string {
	if runtime.GOOS == "darwin" {
		return ".dylib"
	}
	return ".so"
}

// findLibraries looks for the one release that fits. The npm packages write it into the file's name.
func findLibraries(dir string) (libraries, error) {
	if dir == "" {
		return nil, noEngine("no folder of libllama is given")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(abs)
	if err != nil {
		return nil, noEngine("the folder of libllama can't be read: %v", err)
	}
	libs := libraries{}
	var releases []string
	flavour := "" // such as "cuda.": the builds for devices have it before the release
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, "lib") || !strings.HasSuffix(name, suffix()) {
			continue
		}
		libs[name] = filepath.Join(abs, name)
		if v, ok := strings.CutPrefix(strings.TrimSuffix(name, suffix()), "libllama."); ok {
			if i := strings.Index(v, ".v"); i >= 0 {
				flavour, v = v[:i+1], v[i+1:]
			}
			releases = append(releases, v)
		}
	}
	switch {
	case slices.Contains(releases, Release):
	case len(releases) > 0:
		return nil, noEngine("%s holds llama.cpp %s, but %s pairs with %s only", dir, strings.Join(releases, ", "), Bindings, Release)
	case libs["libllama"+suffix()] != "":
		return nil, noEngine("the name of libllama%s in %s does not say its release, and %s pairs with %s only", suffix(), dir, Bindings, Release)
	default:
		return nil, noEngine("%s holds no libllama", dir)
	}
	// The bindings ask for the plain names, the libraries themselves for the versioned ones.
	for _, name := range []string{"libllama", "libggml"} {
		file := name + "." + flavour + Release + suffix()
		versioned := libs[file]
		if versioned == "" {
			return nil, noEngine("%s lacks %s", dir, file)
		}
		libs[name+suffix()] = versioned
	}
	if libs["libggml-base"+suffix()] == "" {
		return nil, noEngine("%s lacks libggml-base%s", dir, suffix())
	}
	return libs, nil
}

// linkLibraries makes a folder of links below dir and returns it.
func linkLibraries(libs libraries, dir string) (string, error) {
	links, err := os.MkdirTemp(dir, "llama-")
	if err != nil {
		return "", err
	}
	for name, file := range libs {
		if err := os.Symlink(file, filepath.Join(links, name)); err != nil {
			os.RemoveAll(links)
			return "", err
		}
	}
	return links, nil
}

// Bounds of what is kept of the library's log: enough for the reason of a failed load.
const (
	maxLogLines = 8
	maxLogBytes = 300
)

// logTail keeps the last warnings and errors that the library wrote. It writes nothing itself.
type logTail struct {
	mu    sync.Mutex // guards lines
	lines []string
}

// line is called by C, from any thread.
func (l *logTail) line(level int32, text *byte, _ uintptr) uintptr {
	if llama.LogLevel(level) != llama.LogLevelWarn && llama.LogLevel(level) != llama.LogLevelError {
		return 0
	}
	s := strings.TrimSpace(strings.ToValidUTF8(unix.BytePtrToString(text), "\uFFFD"))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, s[:min(len(s), maxLogBytes)])
	l.lines = l.lines[max(0, len(l.lines)-maxLogLines):]
	return 0
}

// take returns what was kept, and forgets it.
func (l *logTail) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := strings.Join(l.lines, "; ")
	l.lines = nil
	return strings.ToValidUTF8(s, "")
}
