package project

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
)

func TestParse_Whole(t *testing.T) {
	f, err := Parse("catenary.yaml", []byte(`
functions:
  - name: speak
    kind: wasi
    artifact: flite.wasm
    args: [flite, -t, "{text}", -o, "{out}"]
    out: {file: o.wav, type: audio/wav}
    limits: {mem: 256MiB, time: 30s, out: 1KiB}
    idle: 2m
    image: off
  - {name: answer, kind: wasm, source: answer, uses: {models: [llm]}, sample: {text: hi}}
models:
  - {name: llm, engine: llama, file: m.gguf, context: 256, idle: 1m}
chains:
  - {name: voice, file: voice.yaml}
`))
	if err != nil {
		t.Fatal(err)
	}
	speak := f.Functions[0]
	if speak.Limits != (Limits{Mem: 256 << 20, Time: Duration(30 * time.Second), Out: 1024}) || speak.Idle != Duration(2*time.Minute) || speak.Image != "off" {
		t.Errorf("speak = %+v", speak)
	}
	if f.Models[0].Context != 256 || f.Chains[0].File != "voice.yaml" || f.Functions[1].Uses.Models[0] != "llm" {
		t.Errorf("file = %+v", f)
	}
}

func TestParse_Faults(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key", "functions:\n  - {name: a, kind: wasm, source: a, imag: auto}\n", "catenary.yaml:2:38: unknown key \"imag\""},
		{"duplicate key", "models:\n  - name: m\n    file: f\n    name: n\n", "catenary.yaml:4:5: key \"name\" is there already"},
		{"size", "functions:\n  - {name: a, kind: wasm, source: a, limits: {mem: 5MB}}\n", "5MB"},
		{"duration", "functions:\n  - {name: a, kind: wasm, source: a, idle: 5}\n", "duration"},
		{"two functions of a name", "functions:\n  - {name: a, kind: wasm, source: a}\n  - {name: a, kind: wasm, source: b}\n", `function "a" is there twice`},
		{"no source", "functions:\n  - {name: a, kind: wasm}\n", "exactly one of source"},
		{"source of a command", "functions:\n  - {name: a, kind: wasi, source: b}\n", "kind wasi takes an artifact"},
		{"chain of two kinds", "chains:\n  - {name: a, file: f, package: p}\n", "exactly one of file"},
		{"model without file", "models:\n  - {name: a, engine: llama}\n", "needs a file"},
		{"name", "chains:\n  - {name: A, file: f}\n", "chain name"},
		{"not a list", "functions: 3\n", "catenary.yaml:1:12: want a list"},
		{"not YAML", "functions: [\n", "catenary.yaml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("catenary.yaml", []byte(tt.text))
			if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want ErrInvalid with %q", err, tt.want)
			}
		})
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "7": 7, "7B": 7, "2KiB": 2048, "3MiB": 3 << 20, "1GiB": 1 << 30} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5MiB", "1MB", "1iB", "99999999999GiB", "9223372036854775808"} {
		if got, err := ParseSize(text); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("ParseSize(%q) = %d, %v, want ErrInvalid", text, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("functions:\n  - {name: a, kind: wasm, source: a, limits: {mem: 5MiB}}\n"))
	f.Add([]byte("chains: [{name: a, file: b}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Parse("f.yaml", data); err != nil && !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("%v does not wrap ErrInvalid", err)
		}
	})
}

// write makes a project of the given files in a new folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const commandProject = `
functions:
  - name: say
    kind: wasi
    artifact: say.wasm
    args: [say, "{text}", "{voice|file}", "{out}"]
    out: {file: o.wav, type: audio/wav}
    sample: {text: hi, voice: {blob: "sha256:0000000000000000000000000000000000000000000000000000000000000000", type: a/b, size: 1}}
chains:
  - {name: c, file: c.yaml}
`

func TestBuild_Command(t *testing.T) {
	dir := write(t, map[string]string{FileName: commandProject, "say.wasm": "bytes of say", "c.yaml": "chain: c\nsteps: [{call: say}]\n"})
	built, err := Build(t.Context(), dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	m := built.Manifests[0]
	if m.Artifact != functions.DigestOf([]byte("bytes of say")) || m.Out.Schema.Format != functions.FormatAudio || m.In.Schema.Properties["text"].Type != "string" || m.In.Schema.Properties["voice"].Format != functions.FormatBlob {
		t.Errorf("manifest = %+v", m)
	}
	if err := value.Check(m.In.Schema, m.Sample); err != nil {
		t.Error(err)
	}
	again, err := Build(t.Context(), dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []*Bundle{again, opened} {
		if b.Manifests[0].Digest() != m.Digest() || b.Chains[0].Spec.Hash() != built.Chains[0].Spec.Hash() {
			t.Error("the same sources gave another bundle")
		}
	}
	f, _, err := opened.OpenBlob(m.Artifact)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, _ := io.ReadAll(f); !bytes.Equal(got, []byte("bytes of say")) {
		t.Errorf("blob = %q", got)
	}
}

func TestBuild_DropsOldBlobs(t *testing.T) {
	dir := write(t, map[string]string{FileName: commandProject, "say.wasm": "one", "c.yaml": "chain: c\nsteps: [{call: say}]\n"})
	if _, err := Build(t.Context(), dir, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "say.wasm"), []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Build(t.Context(), dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.OpenBlob(functions.DigestOf([]byte("one"))); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("the old blob is still there: %v", err)
	}
}

func TestBuild_Faults(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"no project", nil, "there is no catenary.yaml"},
		{"missing files, both named", map[string]string{FileName: "functions: [{name: a, kind: wasi, artifact: a.wasm, args: ['{x}'], out: {stdout: true}}]\nmodels: [{name: m, engine: llama, file: m.gguf}]\n"}, "m.gguf"},
		{"an artifact without types", map[string]string{FileName: "functions: [{name: a, kind: plugin, artifact: a}]\n", "a": ""}, "the types of this artifact are not known"},
		{"chain of another name", map[string]string{FileName: "chains: [{name: a, file: c.yaml}]\n", "c.yaml": "chain: b\nsteps: [{call: x}]\n"}, `called "b"`},
		{"sample that does not fit", map[string]string{FileName: "functions: [{name: a, kind: wasi, artifact: a, args: ['{x}'], out: {stdout: true}, sample: {x: 3}}]\n", "a": ""}, "sample"},
		{"a manifest's own fault", map[string]string{FileName: "functions: [{name: a, kind: wasi, artifact: a, args: ['{x}'], out: {stdout: true}, image: maybe}]\n", "a": ""}, "neither auto nor off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Build(t.Context(), write(t, tt.files), io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want %q", err, tt.want)
			}
		})
	}
}
