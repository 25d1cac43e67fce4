package project

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
)

// place is what begins every fault's text.
var place = regexp.MustCompile(`^[^:]+\.yaml:[1-9]\d*:[1-9]\d*: [^:]`)

// split returns the faults that err joins.
func split(err error) (all []error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	for _, err := range joined.Unwrap() {
		all = append(all, split(err)...)
	}
	return all
}

// texts returns the faults' texts; each must have a place.
func texts(t *testing.T, err error) (all []string) {
	t.Helper()
	for _, fault := range split(err) {
		if !place.MatchString(fault.Error()) {
			t.Errorf("%v has no place", fault)
		}
		all = append(all, fault.Error())
	}
	return all
}

// TestParse_Faults: each is found, and said with its place and what to do.
func TestParse_Faults(t *testing.T) {
	const fn = "functions:\n  - {name: a, "
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key", fn + "kind: wasm, source: a, imag: auto}\n", `f.yaml:2:38: unknown key "imag"`},
		{"duplicate key", "models:\n  - name: m\n    file: f\n    name: n\n", `f.yaml:4:5: key "name" is there already`},
		{"size", fn + "kind: wasm, source: a, limits: {mem: 5MB}}\n", `f.yaml:2:52: size "5MB": write a number and B, KiB, MiB or GiB`},
		{"duration", fn + "kind: wasm, source: a, idle: 5}\n", `f.yaml:2:44: duration "5": write a number and a unit`},
		{"not a list", "functions: 3\n", "f.yaml:1:12: want a list"},
		{"not YAML", "functions: [\n", "f.yaml:2:1: not YAML"},
		{"empty", "", "f.yaml:1:1: the file is empty"},

		{"no name", "functions:\n  - {kind: wasm, source: a}\n", "f.yaml:2:5: this function needs a name"},
		{"name", "chains:\n  - {name: A, file: f}\n", `f.yaml:2:12: chain name "A": use a lower-case letter`},
		{"two functions of a name", fn + "kind: wasm, source: a}\n  - {kind: wasm, source: b, name: a}\n",
			`f.yaml:3:35: function "a" is there twice: the first is at f.yaml:2:12; rename one`},
		{"no source", fn + "kind: wasm}\n", `f.yaml:2:5: function "a" needs exactly one of source`},
		{"two sources", fn + "kind: wasm, source: a, artifact: b}\n", `f.yaml:2:48: function "a" needs exactly one of source`},
		{"no kind", fn + "source: a}\n", `f.yaml:2:5: function "a" needs a kind: wasm, wasi or plugin`},
		{"unknown kind", fn + "kind: docker, artifact: a}\n", `f.yaml:2:21: function "a": kind "docker" is none of wasm, wasi, plugin`},
		{"source of a command", fn + "kind: wasi, source: b}\n", `f.yaml:2:35: function "a": kind wasi takes an artifact`},
		{"command without output", fn + "kind: wasi, artifact: b}\n", `f.yaml:2:5: function "a": kind wasi needs out: {file: NAME}`},
		{"command of two outputs", fn + "kind: wasi, artifact: b, out: {file: o, stdout: true}}\n", `f.yaml:2:45: function "a": kind wasi needs out: {file: NAME} or`},
		{"arguments of a reactor", fn + "kind: wasm, source: b, args: [x]}\n", `f.yaml:2:44: function "a": args belong to kind wasi only`},
		{"more memory than there can be", fn + "kind: wasm, source: b, limits: {mem: 5GiB}}\n", `f.yaml:2:52: function "a": a WebAssembly module has at most 4GiB`},
		{"output of a reactor", fn + "kind: wasm, source: b, out: {stdout: true}}\n", `f.yaml:2:43: function "a": out belongs to kind wasi only`},
		{"image", fn + "kind: wasm, source: b, image: maybe}\n", `f.yaml:2:45: function "a": image "maybe" is neither auto nor off`},
		{"encoding", fn + "kind: wasm, artifact: b, encoding: xml}\n", `f.yaml:2:50: function "a": encoding "xml" is neither cbor nor json`},
		{"encoding of a plugin", fn + "kind: plugin, artifact: b, encoding: cbor}\n", `f.yaml:2:52: function "a": encoding belongs to kind wasm only; remove it`},
		{"JSON in a Go package", fn + "kind: wasm, source: b, encoding: json}\n", `f.yaml:2:48: function "a": a Go package reads and writes CBOR; remove encoding`},
		{"idle limit of a command", fn + "kind: wasi, artifact: b, out: {stdout: true}, limits: {idle: 30s}}\n",
			`f.yaml:2:76: function "a": limits.idle is the time between items, and the input is not a stream; use limits.time`},
		{"idle limit, not a duration", fn + "kind: wasm, artifact: b, limits: {idle: often}}\n", `f.yaml:2:55: duration "often": write a number and a unit`},
		{"model of a plugin", fn + "kind: plugin, source: b, uses: {models: [m]}}\n", `f.yaml:2:55: function "a": a plugin can't use models yet`},
		{"name of a used model", fn + "kind: wasm, source: b, uses: {models: [m, N]}}\n", `f.yaml:2:57: model name "N"`},
		{"model without file", "models:\n  - {name: a, engine: llama}\n", `f.yaml:2:5: model "a" needs a file`},
		{"model without engine", "models:\n  - {name: a, file: f}\n", `f.yaml:2:5: model "a" needs an engine: llama or openai`},
		{"engine", "models:\n  - {name: a, file: f, engine: onnx}\n", `f.yaml:2:32: model "a": engine "onnx" is unknown; use llama or openai`},
		{"url of a file", "models:\n  - {name: a, file: f, engine: llama, url: u}\n", `f.yaml:2:44: model "a": url belongs to engine openai only`},
		{"server's name of a file", "models:\n  - {name: a, file: f, engine: llama, model: u}\n", `f.yaml:2:46: model "a": model belongs to engine openai only`},
		{"server without url", "models:\n  - {name: a, engine: openai, model: m}\n", `f.yaml:2:5: model "a" needs a url`},
		{"server without model", "models:\n  - {name: a, engine: openai, url: \"http://h/v1\"}\n", `f.yaml:2:5: model "a" needs a model`},
		{"file of a server", "models:\n  - {name: a, engine: openai, url: \"http://h/v1\", model: m, file: f}\n", `f.yaml:2:67: model "a": file belongs to engine llama only`},
		{"context of a server", "models:\n  - {name: a, engine: openai, url: \"http://h/v1\", model: m, context: 5}\n", `f.yaml:2:70: model "a": context belongs to engine llama only`},
		{"secret in a url", "models:\n  - {name: a, engine: openai, url: \"http://me:secret@h/v1\", model: m}\n", `f.yaml:2:36: url: write it as http://HOST:PORT/v1, without user`},
		{"key in a project", "models:\n  - {name: a, engine: openai, url: \"http://h/v1\", model: m, key_env: K}\n", `f.yaml:2:61: unknown key "key_env"`},
		{"command in a project", "models:\n  - {name: a, engine: openai, url: \"http://h/v1\", model: m, command: [x]}\n", `f.yaml:2:61: unknown key "command"`},
		{"context", "models:\n  - {name: a, file: f, engine: llama, context: -1}\n", `f.yaml:2:48: model "a": context counts tokens and can't be negative; leave it out`},
		{"chain of two kinds", "chains:\n  - {name: a, file: f, package: p}\n", `f.yaml:2:33: chain "a" needs exactly one of file`},
		{"chain of no kind", "chains:\n  - {name: a}\n", `f.yaml:2:5: chain "a" needs exactly one of file`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(tt.text))
			if err == nil || !errors.Is(err, functions.ErrInvalid) {
				t.Fatalf("err = %v, want ErrInvalid", err)
			}
			if got := texts(t, err); len(got) != 1 || !strings.HasPrefix(got[0], tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestParse_AllFaultsAtOnce, even of an entry with nothing in it.
func TestParse_AllFaultsAtOnce(t *testing.T) {
	_, err := Parse("f.yaml", []byte("functions:\n  -\nchains:\n  - {name: A}\n"))
	want := []string{
		"f.yaml:2:4: this function needs a name",
		`f.yaml:2:4: function "" needs exactly one of source (a Go package) and artifact (a file)`,
		`f.yaml:2:4: function "" needs a kind: wasm, wasi or plugin`,
		`f.yaml:4:12: chain name "A": use a lower-case letter, then letters, digits and hyphens, at most 63 in all`,
		`f.yaml:4:5: chain "A" needs exactly one of file (YAML) and package (Go)`,
	}
	if diff := cmp.Diff(want, texts(t, err)); diff != "" {
		t.Error(diff)
	}
}

// goPackage returns the files of a Go program, which has the path of a module to itself.
func goPackage(program string) map[string]string {
	return map[string]string{"go.mod": "module p\n", "main.go": "package main\n\n" + program}
}

// TestBuild_Faults: what only a build finds has a place too, in catenary.yaml or in the file that is wrong.
func TestBuild_Faults(t *testing.T) {
	const command = "functions:\n  - {name: a, kind: wasi, artifact: a, args: ['{x}'], out: {stdout: true}"
	for _, tt := range []struct {
		name  string
		yaml  string
		files map[string]string
		want  []string // the beginning of each fault; DIR is the project's folder
		is    error
	}{
		{"missing files, all named", command + "}\nmodels: [{name: m, engine: llama, file: m.gguf}]\nchains: [{name: c, file: c.yaml}]\n", nil, []string{
			"DIR/catenary.yaml:4:26: chain c: not found: open DIR/c.yaml: no such file or directory; paths are relative to the folder of catenary.yaml",
			"DIR/catenary.yaml:3:41: model m: not found: stat DIR/m.gguf: no such file or directory; paths are relative",
			"DIR/catenary.yaml:2:37: function a: not found: stat DIR/a: no such file or directory; paths are relative",
		}, functions.ErrNotFound},
		{"an empty artifact", command + "}\n", map[string]string{"a": ""}, []string{"DIR/catenary.yaml:2:37: function a: DIR/a is empty"}, functions.ErrInvalid},
		{"a folder for a model", "models: [{name: m, engine: llama, file: .}]\n", nil, []string{"DIR/catenary.yaml:1:41: model m: DIR is not a file"}, functions.ErrInvalid},
		{"an artifact without types", "functions: [{name: a, kind: plugin, artifact: a}]\n", map[string]string{"a": "x"},
			[]string{"DIR/catenary.yaml:1:47: function a: the types of this artifact are not known: name it in a chain in Go"}, functions.ErrInvalid},
		{"chain of another name", "chains: [{name: a, file: c.yaml}]\n", map[string]string{"c.yaml": "\nchain: b\nsteps: [{call: x}]\n"},
			[]string{`DIR/c.yaml:2:1: chain a: the chain in this file is called "b"; give it the name that DIR/catenary.yaml:1:17 has`}, functions.ErrInvalid},
		{"faults in a chain's file", "chains: [{name: a, file: c.yaml}]\n", map[string]string{"c.yaml": "chain: a\nsteps: [{call: x, nmae: y}, {clal: z}]\n"},
			[]string{"DIR/c.yaml:2:19: ", "DIR/c.yaml:2:30: "}, functions.ErrInvalid},
		{"sample that does not fit", command + ", sample: {x: 3}}\n", map[string]string{"a": "x"}, []string{"DIR/catenary.yaml:2:84: function a: sample: "}, functions.ErrInvalid},
		{"sample that holds a blob", "functions: [{name: a, kind: wasi, artifact: a, args: ['{x|file}'], out: {stdout: true}, sample: {x: {data: aGk=, type: a/b}}}]\n", map[string]string{"a": "x"},
			[]string{"DIR/catenary.yaml:1:97: function a: sample: "}, functions.ErrInvalid},
		{"no folder", "functions: [{name: a, kind: wasm, source: p}]\n", nil, []string{"DIR/catenary.yaml:1:43: function a: not found: stat DIR/p: no such file or directory"}, functions.ErrNotFound},
		{"a file for a package", "functions: [{name: a, kind: wasm, source: p}]\n", map[string]string{"p": "x"}, []string{"DIR/catenary.yaml:1:43: function a: DIR/p is a file; name the folder"}, functions.ErrInvalid},
		{"a program that does not compile", "functions: [{name: a, kind: wasm, source: .}]\n", goPackage("func main( {}\n"),
			[]string{"DIR/catenary.yaml:1:43: function a: go build DIR: exit status 1\n"}, functions.ErrInvalid},
		{"a program that fails", "functions: [{name: a, kind: wasm, source: .}]\n", goPackage("import \"os\"\n\nfunc main() { print(\"no wav\"); os.Exit(3) }\n"),
			[]string{"DIR/catenary.yaml:1:43: function a: package DIR does not describe itself when it runs with CATENARY_DESCRIBE=1: exit status 3\nno wav"}, functions.ErrInvalid},
		{"a program that says nothing", "chains: [{name: a, package: .}]\n", goPackage("func main() {}\n"),
			[]string{"DIR/catenary.yaml:1:29: chain a: package DIR: its main or init must call guest.Serve, plugin.Serve or sdk.Main"}, functions.ErrInvalid},
		{"a program that serves another", "functions: [{name: a, kind: wasm, source: .}]\n", goPackage("import \"fmt\"\n\nfunc main() { fmt.Println(`{\"functions\":[{\"name\":\"b\"}]}`) }\n"),
			[]string{"DIR/catenary.yaml:1:20: function a: package . serves b; it must serve this one alone"}, functions.ErrInvalid},
		{"a program without this chain", "chains: [{name: a, package: .}]\n", goPackage("import \"fmt\"\n\nfunc main() { fmt.Println(`{\"chains\":[{\"spec\":{\"name\":\"b\"}}]}`) }\n"),
			[]string{"DIR/catenary.yaml:1:17: chain a: not found: package . passes b to sdk.Main; rename one of them"}, functions.ErrNotFound},
		{"a time between items, and one item", "functions:\n  - name: a\n    kind: plugin\n    source: .\n    limits: {idle: 30s}\n",
			goPackage("import \"fmt\"\n\nfunc main() { fmt.Println(`{\"functions\":[{\"name\":\"a\",\"in\":{\"schema\":{\"type\":\"string\"}},\"out\":{\"schema\":{\"type\":\"string\"}}}]}`) }\n"),
			[]string{"DIR/catenary.yaml:5:20: function a: limits.idle is the time between items, and the input is not a stream; use limits.time"}, functions.ErrInvalid},
		{"types that a manifest can't have", "functions: [{name: a, kind: plugin, source: .}]\n",
			goPackage("import \"fmt\"\n\nfunc main() { fmt.Println(`{\"functions\":[{\"name\":\"a\",\"in\":{},\"out\":{}}]}`) }\n"),
			[]string{`DIR/catenary.yaml:1:13: function "a": in has no schema`, `DIR/catenary.yaml:1:13: function "a": out has no schema`}, functions.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, tt.files)
			if err := os.WriteFile(filepath.Join(dir, FileName), []byte(tt.yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Build(t.Context(), dir, io.Discard)
			if err == nil || !errors.Is(err, tt.is) {
				t.Fatalf("err = %v, want one that wraps %v", err, tt.is)
			}
			got := texts(t, err)
			for i := range got {
				got[i] = strings.ReplaceAll(got[i], dir, "DIR")
				if i < len(tt.want) {
					got[i] = got[i][:min(len(got[i]), len(tt.want[i]))]
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s\n%v", diff, err)
			}
			if _, err := Open(dir); !errors.Is(err, functions.ErrNotFound) {
				t.Errorf("it left a bundle: %v", err)
			}
		})
	}
}

// TestBuild_FailedLeavesNoBundle: what a deploy would send is gone as soon as a build begins that may fail.
func TestBuild_FailedLeavesNoBundle(t *testing.T) {
	files := map[string]string{FileName: commandProject, "say.wasm": "bytes of say", "c.yaml": "chain: c\nsteps: [{call: say}]\n"}
	for name, text := range map[string]string{
		FileName: "functions: [", "c.yaml": "chain: c\n", "say.wasm": "",
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, files)
			change := func(text string) {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Build(t.Context(), dir, io.Discard); err != nil {
				t.Fatal(err)
			}
			change(text)
			if _, err := Build(t.Context(), dir, io.Discard); err == nil {
				t.Fatal("the build passed")
			}
			if _, err := Open(dir); !errors.Is(err, functions.ErrNotFound) || !strings.Contains(err.Error(), "run catenary build") {
				t.Errorf("got %v, want that there is no bundle, with the remedy", err)
			}
			change(files[name])
			if _, err := Build(t.Context(), dir, io.Discard); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir); err != nil {
				t.Errorf("built again: %v", err)
			}
		})
	}
}

func TestBuild_NoProject(t *testing.T) {
	if _, err := Build(t.Context(), t.TempDir(), io.Discard); !errors.Is(err, functions.ErrNotFound) || !strings.Contains(err.Error(), "there is no catenary.yaml") {
		t.Errorf("err = %v", err)
	}
}

// TestBuild_EndsWithItsContext and says so, instead of calling the project wrong.
func TestBuild_EndsWithItsContext(t *testing.T) {
	dir := write(t, goPackage("func main() {}\n"))
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte("functions: [{name: a, kind: wasm, source: .}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if _, err := Build(ctx, dir, io.Discard); !errors.Is(err, gone) {
		t.Errorf("err = %v, want the cause of its end", err)
	}
}
