package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/internal/testkit"
)

const module = "github.com/catenary-run/catenary/"

// rule says what the packages of a folder may import, tests aside. The longest folder that matches counts.
type rule struct {
	folder string
	may    []string // folders of ours, with all below them unless they end in "!"
	why    string
}

var rules = []rule{
	{"functions", nil, "the vocabulary that everybody shares depends on nobody"},
	{"functions/value", []string{"functions!", "functions/wav"}, "encodings know schemas, and the header of audio that comes as bytes"},
	{"functions/wav", []string{"functions!"}, "a leaf that functions of the examples use, too"},
	{"functions/invokertest", []string{"functions"}, "one suite for every Invoker can know none of them"},
	{"chains", []string{"chains/spec", "functions"}, "a chain runs against an Invoker, wherever that is"},
	{"chains/spec", nil, "data that the SDK links into guests"},
	{"chains/specfile", []string{"chains/spec", "functions!", "internal/strictyaml"}, "YAML is one way to write a spec"},
	{"sandbox", []string{"functions!"}, "the border between pools and drivers"},
	{"sandbox/sandboxtest", []string{"sandbox!", "sandbox/sandboxtest", "functions", "sdk"}, "the suite brings a program written with the SDK"},
	{"sandbox/wasm", []string{"sandbox!", "sandbox/wasm", "functions"}, "a driver is mechanism: it knows no pools"},
	{"sandbox/wasm/abi", nil, "host and guest share it"},
	{"sandbox/plugin", []string{"sandbox!", "sandbox/plugin", "functions!"}, "a driver is mechanism: it knows no pools"},
	{"coldstart", []string{"functions!", "sandbox!"}, "the owner of pools knows drivers by their interface"},
	{"gpu", []string{"functions!", "gpu/gpuv1", "gpu/queue", "gpu/openai!"}, "the serving process must not link an engine"},
	{"gpu/queue", []string{"functions!"}, "who is next is decided without a look at clocks or models"},
	{"gpu/openai", []string{"functions!"}, "it knows one server, and not who waits for it"},
	{"gpu/openai/openaitest", nil, "a server knows nothing of those who call it"},
	{"gpu/gpuv1", []string{"functions!"}, "generated, and how errors cross it"},
	{"gpu/llama", []string{"functions!", "gpu/llama"}, "an engine knows requests and tokens"},
	{"gpu/cuda", []string{"functions!"}, "devices and memory: it knows no engine, only what engines import"},
	{"gpu/cuda/cudatest", []string{"internal/testkit"}, "a fake for tests of every package below gpu"},
	{"gpu/worker", []string{"functions!", "gpu/gpuv1", "gpu/llama", "gpu/cuda"}, "it alone loads an engine"},
	{"gateway", []string{"chains!", "chains/spec", "functions", "gateway/catenary"}, "doors know chains, not pools"},
	{"gateway/catenary", []string{"functions!"}, "generated, and how messages become items, refs and failures"},
	{"gateway/remote", []string{"functions!", "gateway"}, "the Invoker over Connect and its server half"},
	{"sdk", []string{"chains/spec", "functions!"}, "a guest links it: standard library only"},
	{"sdk/guest", []string{"sdk!", "functions!", "functions/value", "sandbox/wasm/abi"}, "a guest links it"},
	{"sdk/plugin", []string{"sdk!", "functions!", "functions/value", "sandbox/plugin/pluginv1"}, "a plugin links it"},
	{"sdk/client", []string{"sdk!", "chains/spec", "functions", "gateway/catenary"}, "an app links it"},
	{"sdk/sdktest", []string{"sdk!", "chains", "functions"}, "tests run the real planner and executor"},
	{"examples", []string{"sdk", "functions", "examples"}, "an example shows what users have"},
	{"internal/store", []string{"functions!", "internal/store"}, "it implements interfaces of functions"},
	{"internal/project", []string{"sdk!", "chains/spec", "chains/specfile", "functions", "internal/strictyaml"}, "a build knows the SDK's descriptions"},
	{"internal/strictyaml", []string{"functions!"}, "a leaf: it wraps the sentinels"},
	{"internal/process", nil, "tests and benchmarks start the real server"},
	{"internal/testkit", []string{"internal/process"}, "tests of every package use it"},
	{"internal/spoken", []string{"examples", "sdk", "functions"}, "it asks the voice example as an app does"},
	{"internal/loadtest", []string{""}, "it has tests only: they run what is there, under load"},
	{"internal/rolestest", nil, "it has tests only: they start the binary as it is"},
	{"internal/arch", []string{"internal/testkit"}, "it looks at all, and links none"},
	{"internal/bench", []string{""}, "a benchmark may look at everything"},
	{"internal/samples", nil, "a leaf: it knows nothing of what is measured"},
	{"internal/gpucheck", []string{"functions!", "gpu/cuda!", "internal/samples"}, "it runs where there is nothing but a driver"},
	{"cmd", []string{""}, "wiring knows everything"},
}

// owners says which folders may import an outside module, and why nobody else.
var owners = []struct {
	module  string
	folders []string
	why     string
}{
	{"github.com/google/cel-go", []string{"chains!"}, "its module path is about to change: one package moves"},
	{"github.com/tetratelabs/wazero", []string{"sandbox/wasm", "internal/bench"}, "one driver knows the runtime"},
	{"github.com/hashicorp/go-plugin", []string{"sandbox/plugin", "sdk/plugin", "internal/bench"}, "both ends of one protocol"},
	{"github.com/redis/go-redis", []string{"internal/store"}, "shared state has one door"},
	{"connectrpc.com", []string{"gateway", "sdk/client"}, "doors and those who knock"},
	{"github.com/coder/websocket", []string{"gateway!"}, "one door speaks it"},
	{"github.com/fxamacker/cbor", []string{"functions/value"}, "one encoding, one place"},
	{"github.com/google/jsonschema-go", nil, "schemas are checked while transcoding"},
	{"github.com/ebitengine/purego", []string{"gpu", "examples"}, "the serving process loads no C library"},
	{"github.com/hybridgroup/yzma", []string{"gpu/llama"}, "the engine's binding is pinned with its library"},
	{"github.com/jupiterrider/ffi", []string{"gpu/llama"}, "what the binding lacks is called the way the binding calls"},
	{"go.yaml.in/yaml", []string{"chains/specfile", "internal/strictyaml"}, "a server reads no YAML"},
	{"github.com/alecthomas/kong", []string{"cmd"}, "flags belong to the binary"},
}

type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	Deps       []string
	GoFiles    []string
}

func list(t *testing.T, env []string, args ...string) []pkg {
	t.Helper()
	testkit.DependOnSources(t)
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Imports,Deps,GoFiles"}, args...)...)
	cmd.Dir = testkit.Root(t)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// within reports whether path is folder or, unless folder ends in "!", below it.
func within(path, folder string) bool {
	if exact, ok := strings.CutSuffix(folder, "!"); ok {
		return path == exact
	}
	return folder == "" || path == folder || strings.HasPrefix(path, folder+"/")
}

func ruleFor(path string) (best rule, ok bool) {
	for _, r := range rules {
		if within(path, r.folder) && (!ok || len(r.folder) > len(best.folder)) {
			best, ok = r, true
		}
	}
	return best, ok
}

func TestImports(t *testing.T) {
	for _, p := range list(t, nil, "./...") {
		path := strings.TrimPrefix(p.ImportPath, module)
		r, ok := ruleFor(path)
		if !ok {
			t.Errorf("%s has no rule: add one to internal/arch, with its reason", path)
			continue
		}
		for _, imp := range p.Imports {
			if to, ours := strings.CutPrefix(imp, module); ours {
				if !slices.ContainsFunc(r.may, func(f string) bool { return within(to, f) }) {
					t.Errorf("%s imports %s; it may not: %s", path, to, r.why)
				}
				continue
			}
			for _, o := range owners {
				if within(imp, o.module) && !slices.ContainsFunc(o.folders, func(f string) bool { return within(path, f) }) {
					t.Errorf("%s imports %s, which belongs to %v: %s", path, imp, o.folders, o.why)
				}
			}
			if slices.Contains([]string{"functions", "chains/spec", "sdk", "sandbox/wasm/abi"}, path) && strings.Contains(strings.Split(imp, "/")[0], ".") {
				t.Errorf("%s imports %s; it has the standard library only: guests link it", path, imp)
			}
		}
	}
}

// TestServerLinksNoEngine: only the worker, which is the same binary started anew, calls the engine; what decides is
// that package gpu itself does not reach it.
func TestServerLinksNoEngine(t *testing.T) {
	for _, p := range list(t, nil, "./gpu", "./coldstart", "./gateway/...") {
		for _, dep := range p.Deps {
			if strings.Contains(dep, "purego") || strings.Contains(dep, "yzma") {
				t.Errorf("%s links %s", p.ImportPath, dep)
			}
		}
	}
}

func TestGuestLinksLittle(t *testing.T) {
	banned := []string{"github.com/google/cel-go", "github.com/tetratelabs/wazero", "github.com/hashicorp/go-plugin", "google.golang.org/grpc", "connectrpc.com/connect",
		"net/http", "github.com/google/jsonschema-go"}
	for _, p := range list(t, []string{"GOOS=wasip1", "GOARCH=wasm"}, "./examples/functions/answer", "./examples/functions/sorry") {
		for _, dep := range p.Deps {
			if slices.ContainsFunc(banned, func(b string) bool { return within(dep, b) }) {
				t.Errorf("the guest %s links %s", p.ImportPath, dep)
			}
		}
	}
}

func TestPackageDocs(t *testing.T) {
	for _, p := range list(t, nil, "./...") {
		if strings.Contains(p.ImportPath, "/testdata/") || slices.ContainsFunc(p.GoFiles, func(f string) bool { return strings.HasSuffix(f, ".pb.go") }) {
			continue
		}
		var docs []string
		for _, f := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Doc != nil {
				docs = append(docs, parsed.Doc.Text())
			}
		}
		name := p.ImportPath[strings.LastIndex(p.ImportPath, "/")+1:]
		switch {
		case len(docs) != 1:
			t.Errorf("%s has %d package comments, want one", p.ImportPath, len(docs))
		case !strings.HasPrefix(docs[0], "Package ") && !strings.HasPrefix(docs[0], "Command "+name):
			t.Errorf("%s: its comment begins %.40q", p.ImportPath, docs[0])
		}
	}
}

// TestHabits looks for what the style guide forbids and no linter knows.
func TestHabits(t *testing.T) {
	root := testkit.Root(t)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", ".build", ".catenary", "node_modules"}, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		rel, _ := filepath.Rel(root, path)
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, ".pb.go") || strings.HasSuffix(rel, ".connect.go") || strings.Contains(rel, "testdata") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if ok && fn.Recv == nil && fn.Name.Name == "init" && f.Name.Name != "main" {
				t.Errorf("%s: init runs behind its caller's back", rel)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTopLevel keeps the frame: the folders that design gives, and no others.
func TestTopLevel(t *testing.T) {
	want := []string{"LICENSE", "Makefile", "README.md", "chains", "cmd", "coldstart", "docs", "examples", "functions", "gateway", "go.mod", "go.sum", "gpu", "internal", "sandbox", "sdk"}
	cmd := exec.Command("git", "ls-files")
	cmd.Dir = testkit.Root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range strings.Fields(string(out)) {
		top, _, _ := strings.Cut(line, "/")
		if !strings.HasPrefix(top, ".") && !slices.Contains(got, top) {
			got = append(got, top)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("top level is %v, want %v", got, want)
	}
}

// TestReadmeExamples: each Go block of the README stands, to the letter, in a file of examples that is compiled.
func TestReadmeExamples(t *testing.T) {
	root := testkit.Root(t)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var sources strings.Builder
	for _, p := range list(t, nil, "./examples/...") {
		for _, f := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(text)
		}
	}
	blocks := strings.Split(string(readme), "```go\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("the README has no Go example")
	}
	for _, b := range blocks {
		code, _, closed := strings.Cut(b, "```")
		if !closed || !strings.Contains(sources.String(), code) {
			t.Errorf("no example has these lines of the README:\n%s", code)
		}
	}
}

var (
	keptBy = regexp.MustCompile("`([a-z0-9/-]+)` (Test[A-Za-z0-9_]+)|bench ([a-z]+)")
	skips  = regexp.MustCompile(`\.Skip(f|Now)?\(`)
)

// TestPromises: what docs/promises.md names is there, is compiled here, and does not skip itself.
func TestPromises(t *testing.T) {
	root := testkit.Root(t)
	text, err := os.ReadFile(filepath.Join(root, "docs", "promises.md"))
	if err != nil {
		t.Fatal(err)
	}
	benches, err := os.ReadFile(filepath.Join(root, "internal", "bench", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	promises := 0
	tests := map[string]map[string]string{} // package -> test -> its source
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 || strings.HasPrefix(cells[1], "-") || strings.TrimSpace(cells[1]) == "promise" {
			continue
		}
		promises++
		found := keptBy.FindAllStringSubmatch(cells[2], -1)
		if len(found) == 0 || strings.Count(cells[2], ",")+1 != len(found) {
			t.Errorf("promise without a test or a bench, or one that can't be read: %s", line)
		}
		for _, m := range found {
			if m[3] != "" {
				if !strings.Contains(string(benches), `{"`+m[3]+`", `) {
					t.Errorf("no bench %s: %s", m[3], line)
				}
				continue
			}
			if tests[m[1]] == nil {
				tests[m[1]] = testsOf(t, filepath.Join(root, m[1]))
			}
			source, there := tests[m[1]][m[2]]
			if !there {
				t.Errorf("package %s has no %s: %s", m[1], m[2], line)
			} else if skips.MatchString(source) {
				t.Errorf("%s of %s may skip itself", m[2], m[1])
			}
		}
	}
	if promises == 0 {
		t.Error("docs/promises.md has no table")
	}
}

// testsOf returns the source of each test function of the package at dir that this machine compiles.
func testsOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	p, err := build.ImportDir(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, name := range append(p.TestGoFiles, p.XTestGoFiles...) {
		src, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				all[fn.Name.Name] = string(src[fset.Position(fn.Pos()).Offset:fset.Position(fn.End()).Offset])
			}
		}
	}
	return all
}
