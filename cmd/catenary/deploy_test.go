package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/project"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sdk/client"
)

// A chain that is wrong is refused by build or by deploy, with its place in the file.
func TestDeploy_WrongChain(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, tc := range []struct {
		name, yaml string
		parts      []string
	}{
		{"CEL names a field that is not there", `
chain: wrong
steps:
  - call: guest
  - switch: guest
    cases:
      - when: it.cuont > 3
        steps: [{call: helper, name: a, from: in}]
      - else:
        steps: [{call: helper, name: b, from: in}]
`, []string{"wrong.yaml:6:17: step route: ", "case 1: expression `it.cuont > 3`: undefined field 'cuont' of Report", `did you mean "count"`}},
		{"CEL in a block", `
chain: wrong
steps:
  - call: guest
  - switch: guest
    cases:
      - when: >-
          it.count > 3
          || it.cuont > 3
        steps: [{call: helper, name: a, from: in}]
      - else:
        steps: [{call: helper, name: b, from: in}]
`, []string{"wrong.yaml:8:16: step route: ", "undefined field 'cuont' of Report"}},
		{"nobody reads a step", `
chain: wrong
steps:
  - {call: helper, from: in}
  - {call: guest, from: in}
`, []string{"chain wrong", "wrong.yaml:3:5", `nobody reads what step "helper" yields; read its output, or remove the step`}},
		{"CEL that does not parse", `
chain: wrong
steps:
  - call: guest
  - switch: guest
    cases:
      - when: it.count >
        steps: [{call: helper, name: a, from: in}]
      - else:
        steps: [{call: helper, name: b, from: in}]
`, []string{"wrong.yaml:6:25", "Syntax error"}},
		{"CEL that is no condition", `
chain: wrong
steps:
  - call: guest
  - switch: guest
    cases:
      - when: it.count + 1
        steps: [{call: helper, name: a, from: in}]
      - else:
        steps: [{call: helper, name: b, from: in}]
`, []string{"wrong.yaml:6:15", "case 1: expression `it.count + 1` yields int, not bool"}},
		{"types that do not fit", `
chain: wrong
steps:
  - call: guest
  - call: transcribe
`, []string{"wrong.yaml:4:5", "guest gives Report", "transcribe takes Audio"}},
		{"cycle", `
chain: wrong
steps:
  - {call: guest, name: a, from: b}
  - {call: guest, name: b, from: a}
`, []string{"wrong.yaml:3:5", "in a cycle: a reads b reads a"}},
		{"unknown function", `
chain: wrong
steps:
  - call: gest
`, []string{"wrong.yaml:3:5", `function "gest"`, "deploy it first or correct the name"}},
		{"a key that stands twice", `
chain: wrong
steps:
  - call: guest
    call: helper
`, []string{"wrong.yaml:4:5", `"call"`, "twice"}},
		{"unknown key", `
chain: wrong
steps:
  - call: guest
    nmae: a
`, []string{"wrong.yaml:4:5", `"nmae"`}},
		{"not YAML", "chain: [", []string{"wrong.yaml:2:1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, "wrong.yaml"), strings.TrimLeft(tc.yaml, "\n"))
			writeFile(t, filepath.Join(dir, project.FileName), "chains: [{name: wrong, file: wrong.yaml}]\n")
			wantRefused(t, s, dir, tc.parts...)
			if r := post(t, s, "wrong", "application/json", []byte("{}")); r.status != http.StatusNotFound {
				t.Errorf("the chain is deployed all the same: status %d", r.status)
			}
			wellGuest(t, s)
		})
	}
}

// damageBlob changes a bit of what the store of a data folder holds.
func damageBlob(t *testing.T, data string, d functions.Digest) {
	t.Helper()
	blob := filepath.Join(data, "store", "blobs", d.Hex())
	bytes, err := os.ReadFile(blob)
	if err == nil {
		bytes[len(bytes)/2] ^= 1
		err = os.WriteFile(blob, bytes, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// An artifact or a model that was damaged in the store is no fault of the caller's, however often it calls, and a deploy
// mends it.
func TestDeploy_DamagedArtifact(t *testing.T) {
	t.Parallel()
	data := stagedData(t)
	built, err := project.Open(stage.project)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range built.Manifests {
		if m.Name == "guest" {
			damageBlob(t, data, m.Artifact)
		}
	}
	damageBlob(t, data, built.Models[0].File)
	if err := os.RemoveAll(filepath.Join(data, "wasm")); err != nil { // what was prepared of it
		t.Fatal(err)
	}
	s := testkit.Serve(t, "--data", data, "--llama-lib", testkit.LlamaLib(t))
	if r := ask(t, s); r.class != "cold_start" || !strings.Contains(r.text, "deploy again") {
		t.Errorf("the model: %s: %s", r.class, r.text)
	}
	if r := post(t, s, "count", "application/json", []byte(`{"do":""}`)); r.class != "cold_start" || !strings.Contains(r.text, "damaged and is removed; deploy again") {
		t.Errorf("status %d: %s", r.status, r.text)
	}
	if r := post(t, s, "count", "application/json", []byte(`{"do":""}`)); r.class != "cold_start" || !strings.Contains(r.text, "deploy again") {
		t.Errorf("the second caller: %s: %s", r.class, r.text)
	}
	testkit.Run(t, exitOK, "deploy", "--server", s.URL, stage.project)
	wellGuest(t, s)
	wellModel(t, s)
}

// A model's file that is damaged while the model is parked is not woken from.
func TestDeploy_DamagedWhileParked(t *testing.T) {
	t.Parallel()
	data := stagedData(t)
	built, err := project.Open(stage.project)
	if err != nil {
		t.Fatal(err)
	}
	s := testkit.Serve(t, "--data", data, "--llama-lib", testkit.LlamaLib(t), "--idle", "300ms")
	wellModel(t, s)
	c, err := client.New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the model to be parked", func() bool {
		pools, err := c.Pools(t.Context())
		return err == nil && len(pools.Models) == 1 && pools.Models[0].Tier == "parked"
	})
	damageBlob(t, data, built.Models[0].File)
	if r := ask(t, s); r.class != "cold_start" || !strings.Contains(r.text, "deploy again") {
		t.Errorf("status %d: %s: %s", r.status, r.class, r.text)
	}
	testkit.Run(t, exitOK, "deploy", "--server", s.URL, stage.project)
	wellModel(t, s)
}

// A sample that fails is no reason to refuse a function, but whoever deploys it is told.
func TestDeploy_SampleThatTraps(t *testing.T) {
	t.Parallel()
	s := serve(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, project.FileName), "functions: [{name: guest, kind: wasm, source: "+
		filepath.Join(testkit.Root(t), "cmd/catenary/testdata/guest")+", limits: {mem: 64MiB, time: 2s}, sample: {do: trap}}]\n")
	testkit.Run(t, exitOK, "build", dir)
	_, stderr := testkit.Run(t, exitOK, "deploy", "--server", s.URL, dir)
	if !strings.Contains(stderr, "function guest: the warm-up failed") {
		t.Errorf("the deploy says nothing of its sample: %q", stderr)
	}
}

// wantRefused builds and deploys a project, wants one of the two to fail, and its talk to have all parts.
func wantRefused(t *testing.T, s *testkit.Server, dir string, parts ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"build", dir}, nil, &stdout, &stderr)
	if code == exitOK {
		code = run(t.Context(), []string{"deploy", "--server", s.URL, dir}, nil, &stdout, &stderr)
	}
	if code != exitFailed {
		t.Fatalf("exit code %d, want %d\n%s%s", code, exitFailed, stdout.String(), stderr.String())
	}
	for _, p := range parts {
		if !strings.Contains(stderr.String(), p) {
			t.Errorf("the talk does not say %q:\n%s", p, stderr.String())
		}
	}
}

// An artifact or a model that is wrong is refused by deploy, and says which it is.
func TestDeploy_WrongBytes(t *testing.T) {
	t.Parallel()
	s := serve(t)
	whole, err := os.ReadFile(filepath.Join(testkit.Root(t), "examples/voice/model/tiny-q8.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, yaml string
		bytes      []byte
		parts      []string
	}{
		{"a module that is not WASM", `functions: [{name: junk, kind: wasi, artifact: bytes, args: [x, "{text}"], out: {stdout: true, type: text/plain}}]`,
			[]byte("this is no module"), []string{"function junk", "not WebAssembly"}},
		{"a module that breaks off", `functions: [{name: junk, kind: wasi, artifact: bytes, args: [x, "{text}"], out: {stdout: true, type: text/plain}}]`,
			[]byte("\x00asm\x01\x00\x00\x00\x01\x7f"), []string{"function junk", "invalid module"}},
		{"a model that is text", `models: [{name: junk, engine: llama, file: bytes}]`,
			[]byte("this is no model"), []string{"model junk", "not a usable GGUF file", "begins with"}},
		{"a model that breaks off", `models: [{name: junk, engine: llama, file: bytes}]`,
			whole[:64<<10], []string{"model junk", "not a usable GGUF file", "byte"}},
		{"a model that is empty", `models: [{name: junk, engine: llama, file: bytes}]`,
			nil, []string{"model junk", "is empty"}},
		{"a model with another engine", `models: [{name: junk, engine: steam, file: bytes}]`,
			whole[:8], []string{`model "junk"`, `engine "steam"`, "use llama"}},
		{"an artifact without types", `functions: [{name: junk, kind: plugin, artifact: bytes}]`,
			[]byte("x"), []string{"function junk", "types of this artifact are not known", "Go package"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, "bytes"), string(tc.bytes))
			writeFile(t, filepath.Join(dir, project.FileName), tc.yaml)
			wantRefused(t, s, dir, tc.parts...)
			wellGuest(t, s)
			wellModel(t, s)
		})
	}
}

// A new version of a function that is wrong is refused, and the version before it goes on.
func TestDeploy_WrongVersion(t *testing.T) {
	t.Parallel()
	s := serve(t)
	built, err := project.Open(stage.project)
	if err != nil {
		t.Fatal(err)
	}
	manifest := func(t *testing.T, name string, change func(*functions.Manifest)) functions.Manifest {
		for _, m := range built.Manifests {
			if m.Name == name {
				change(&m)
				return m
			}
		}
		t.Fatalf("no function %s in the bundle", name)
		return functions.Manifest{}
	}
	c, err := client.New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, function string
		change         func(*functions.Manifest)
		class          functions.Code
		parts          []string
	}{
		{"plugin exits at its start", "helper", func(m *functions.Manifest) { m.Args = []string{"exit-at-start"} },
			"cold_start", []string{"function helper", "exit status 3", "the helper leaves at once"}},
		{"plugin hangs at its start", "helper", func(m *functions.Manifest) { m.Args = []string{"hang-at-start"} },
			"cold_start", []string{"function helper", "not ready within"}},
		{"plugin of another name", "helper", func(m *functions.Manifest) { m.Name = "helping" },
			"invalid", []string{"function helping", `serves "helper"`, "build it again"}},
		{"plugin of another type", "helper", func(m *functions.Manifest) { m.In = functions.Port{Schema: functions.SchemaFor[string]()} },
			"invalid", []string{"function helper", "differs from its manifest", "input"}},
		{"plugin that is WASM", "guest", func(m *functions.Manifest) { m.Kind = functions.KindPlugin },
			"invalid", []string{"function guest", "no ELF executable"}},
		{"WASM that is a plugin", "helper", func(m *functions.Manifest) { m.Kind = functions.KindWASM },
			"invalid", []string{"function helper", "not WebAssembly"}},
		{"guest with less memory than its start-up needs", "guest", func(m *functions.Manifest) { m.Limits.MemBytes = 64 << 10 },
			"invalid", []string{"function guest", "limits.mem"}},
		{"unknown model", "answer", func(m *functions.Manifest) { m.Uses.Models = []string{"nobody"} },
			"invalid", []string{"function answer", `model "nobody"`, "deploy the model with it"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bad := manifest(t, tc.function, tc.change)
			_, err := c.Deploy(t.Context(), client.Bundle{Manifests: []functions.Manifest{bad}, Open: built.OpenBlob})
			if err == nil || functions.CodeOf(err) != tc.class {
				t.Fatalf("got %v (%s), want an error of class %s", err, functions.CodeOf(err), tc.class)
			}
			for _, p := range tc.parts {
				if !strings.Contains(err.Error(), p) {
					t.Errorf("the error does not say %q: %v", p, err)
				}
			}
			if n := strings.Count(err.Error(), functions.ErrColdStart.Error()); n > 1 {
				t.Errorf("the error says %d times that a start failed: %v", n, err)
			}
			wellGuest(t, s)
			wellHelper(t, s)
		})
	}
	// A client that skips the upload.
	t.Run("blob that is not there", func(t *testing.T) {
		bad := manifest(t, "guest", func(m *functions.Manifest) { m.Artifact = functions.DigestOf([]byte("nobody has these bytes")) })
		body, err := json.Marshal(map[string]any{"manifests": [][]byte{bad.Canonical()}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := send(t.Context(), http.MethodPost, s.URL+"/catenary.v1.ChainService/Deploy", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, r, 400, "invalid", "", "function guest", bad.Artifact.Short(), "PUT /blobs/"+bad.Artifact.Hex())
		wellGuest(t, s)
	})
}
