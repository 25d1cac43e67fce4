package project

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
  - {name: both, kind: wasm, artifact: both.wasm, encoding: json, limits: {idle: 30s}}
models:
  - {name: llm, engine: llama, file: m.gguf, context: 256, idle: 1m}
chains:
  - {name: voice, file: voice.yaml}
`))
	if err != nil {
		t.Fatal(err)
	}
	speak := f.Functions[0]
	if l := speak.Limits; l.Mem != 256<<20 || l.Time != Duration(30*time.Second) || l.Out != 1024 || l.Idle != 0 || speak.Idle != Duration(2*time.Minute) || speak.Image != "off" {
		t.Errorf("speak = %+v", speak)
	}
	if both := f.Functions[2]; both.Encoding != "json" || both.Limits.Idle != Duration(30*time.Second) {
		t.Errorf("both = %+v", both)
	}
	if f.Models[0].Context != 256 || f.Chains[0].File != "voice.yaml" || f.Functions[1].Uses.Models[0] != "llm" {
		t.Errorf("file = %+v", f)
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
		if _, err := Parse("f.yaml", data); err != nil {
			for _, fault := range split(err) {
				if !errors.Is(fault, functions.ErrInvalid) || !place.MatchString(fault.Error()) {
					t.Errorf("%v does not wrap ErrInvalid, or has no place", fault)
				}
			}
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

func TestArgsSchema(t *testing.T) {
	text, blob := &functions.Schema{Type: "string"}, functions.SchemaFor[functions.Blob]()
	object := func(fields map[string]*functions.Schema) *functions.Schema {
		return &functions.Schema{Type: "object", Properties: fields, Required: slices.Sorted(maps.Keys(fields))}
	}
	for _, tt := range []struct {
		args []string
		want *functions.Schema
		err  string
	}{
		{[]string{"say", "-o", "{out}"}, object(map[string]*functions.Schema{}), ""},
		{[]string{"say", "a{b}c{D}", "{b}"}, object(map[string]*functions.Schema{"b": text, "D": text}), ""},
		{[]string{"{b|file}", "{{b}}", "{out|file}"}, object(map[string]*functions.Schema{"b": blob, "out": blob}), ""},
		{[]string{"{b|file}", "{b}"}, object(map[string]*functions.Schema{"b": text}), ""},
		{[]string{"{b}", "{b|file}"}, object(map[string]*functions.Schema{"b": text}), ""},
		{[]string{"{it}", "{out}"}, text, ""},
		{[]string{"{it|file}"}, blob, ""},
		{[]string{"{it|file}", "{it}"}, text, ""},
		{[]string{"{it}", "{b}"}, nil, "{it} is the whole input, so there can't be fields beside it: b, it"},
		{[]string{"say", "{}"}, nil, `argument 1, "{}": {} names no field`},
		{[]string{"{b"}, nil, `argument 0, "{b": a brace without its partner`},
	} {
		got, err := argsSchema(tt.args)
		if diff := cmp.Diff(tt.want, got); diff != "" || (err == nil) != (tt.err == "") || err != nil && (!strings.Contains(err.Error(), tt.err) || !errors.Is(err, functions.ErrInvalid)) {
			t.Errorf("%q: error %v, want %q; want- got+\n%s", tt.args, err, tt.err, diff)
		}
	}
}

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
	half := filepath.Join(dir, Folder, "blobs", ".tmp-of-a-killed-build")
	if err := os.WriteFile(half, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Build(t.Context(), dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, Folder, "*", ".*")); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v; want nothing half-written", left, err)
	}
	if _, _, err := b.OpenBlob(functions.DigestOf([]byte("one"))); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("the old blob is still there: %v", err)
	}
}

// TestBuild_OpensTurns: what a function says of itself is in its manifest.
func TestBuild_OpensTurns(t *testing.T) {
	files := goPackage("import \"fmt\"\n\nfunc main() { fmt.Println(`{\"functions\":[{\"name\":\"a\",\"turns\":true," +
		"\"in\":{\"schema\":{\"type\":\"string\"},\"stream\":true},\"out\":{\"schema\":{\"type\":\"string\"},\"stream\":true}}]}`) }\n")
	files[FileName] = "functions: [{name: a, kind: plugin, source: .}]\n"
	built, err := Build(t.Context(), write(t, files), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if m := built.Manifests[0]; !m.Turns || !m.In.Stream || !m.Out.Stream {
		t.Errorf("manifest = %+v; want a stream to a stream that opens turns", m)
	}
}

// TestBuild_EncodingAndIdleLimit: a module in another language, whose types a chain in Go knows, speaks JSON, and its
// streams may not be silent for long.
func TestBuild_EncodingAndIdleLimit(t *testing.T) {
	const ports = "\"in\":{\"schema\":{\"type\":\"string\"},\"stream\":true},\"out\":{\"schema\":{\"type\":\"string\"},\"stream\":true}"
	files := goPackage("import \"fmt\"\n\nfunc main() { fmt.Println(`{\"chains\":[{\"spec\":{\"name\":\"c\"},\"uses\":[{\"name\":\"both\"," + ports + "}]}]}`) }\n")
	files["both.wasm"] = "bytes of both"
	files[FileName] = "functions: [{name: both, kind: wasm, artifact: both.wasm, encoding: json, limits: {idle: 30s}}]\nchains: [{name: c, package: .}]\n"
	built, err := Build(t.Context(), write(t, files), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if m := built.Manifests[0]; m.Encoding != "json" || m.Limits.Idle != 30*time.Second || !m.In.Stream {
		t.Errorf("manifest = %+v; want JSON, and 30 s between the items of a stream", m)
	}
}
