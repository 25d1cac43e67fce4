package functions_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/google/go-cmp/cmp"
)

func answerManifest() *functions.Manifest {
	return &functions.Manifest{
		Name: "answer", Kind: functions.KindWASM, Artifact: functions.DigestOf([]byte("code")),
		In:     functions.Port{Schema: functions.SchemaFor[base]()},
		Out:    functions.Port{Schema: functions.SchemaFor[string](), Stream: true},
		Limits: functions.Limits{MemBytes: 64 << 20, Time: time.Minute}, Idle: time.Second, Image: "auto",
		Uses: functions.Uses{Models: []string{"llm"}}, Sample: []byte{0xa0}, Encoding: "cbor",
	}
}

func TestManifest_CanonicalFormIsItsIdentity(t *testing.T) {
	m := answerManifest()
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	var back functions.Manifest
	if err := json.Unmarshal(m.Canonical(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&back, m); diff != "" {
		t.Errorf("got- want+\n%s", diff)
	}
	if back.Digest() != m.Digest() || m.Ref() != (functions.Ref{Name: "answer", Digest: m.Digest()}) {
		t.Errorf("digest %s, read again %s", m.Digest(), back.Digest())
	}
	if want := "answer@" + m.Digest().Short(); m.Ref().String() != want {
		t.Errorf("got %s, want %s", m.Ref(), want)
	}
	for name, change := range map[string]func(*functions.Manifest){
		"artifact": func(m *functions.Manifest) { m.Artifact = functions.DigestOf(nil) },
		"schema":   func(m *functions.Manifest) { m.In.Schema = functions.SchemaFor[int]() },
		"limit":    func(m *functions.Manifest) { m.Limits.OutBytes = 1 },
		"image":    func(m *functions.Manifest) { m.Image = "off" },
		"models":   func(m *functions.Manifest) { m.Uses.Models = nil },
	} {
		other := answerManifest()
		change(other)
		if other.Digest() == m.Digest() {
			t.Errorf("another %s has the same digest", name)
		}
	}
}

func TestManifest_ValidateJoinsAllFaults(t *testing.T) {
	bad := functions.Manifest{
		Name: "Answer", Kind: "exe", Artifact: "abc", In: functions.Port{Stream: true}, Out: functions.Port{Schema: &functions.Schema{Type: "x"}},
		Output: &functions.CommandOutput{Stdout: true}, Limits: functions.Limits{Time: -1}, Image: "maybe", Encoding: "xml",
		Uses: functions.Uses{Models: []string{"LLM"}},
	}
	err := bad.Validate()
	if !errors.Is(err, functions.ErrInvalid) {
		t.Fatalf("got %v, want an invalid error", err)
	}
	for _, want := range []string{
		`function name "Answer"`, `kind "exe"`, `digest "abc"`, "in has no schema", `out: invalid: schema: unknown type "x"`,
		"out belongs to kind wasi", "must not be negative", `image "maybe"`, `encoding "xml"`, `model name "LLM"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no fault says %q:\n%v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 10 {
		t.Errorf("got %d faults, want 10:\n%v", n, err)
	}
}

func TestManifest_ValidateByKind(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*functions.Manifest)
		want   string
	}{
		"plugin with a model": {func(m *functions.Manifest) { m.Kind = functions.KindPlugin }, "a plugin can't use models yet"},
		"command, no output":  {func(m *functions.Manifest) { m.Kind, m.Out.Stream = functions.KindWASI, false }, "a wasi command needs out"},
		"command, two outputs": {func(m *functions.Manifest) {
			m.Kind, m.Out.Stream, m.Output = functions.KindWASI, false, &functions.CommandOutput{File: "a", Stdout: true}
		}, "a wasi command needs out"},
		"command with a stream": {func(m *functions.Manifest) {
			m.Kind, m.Output = functions.KindWASI, &functions.CommandOutput{File: "a"}
		}, "no streams"},
		"command": {func(m *functions.Manifest) {
			m.Kind, m.Out.Stream, m.Output = functions.KindWASI, false, &functions.CommandOutput{File: "a"}
		}, ""},
		"turns of one value":      {func(m *functions.Manifest) { m.Turns = true }, "only a function from a stream"},
		"idle between no items":   {func(m *functions.Manifest) { m.Limits.Idle = time.Second }, "use limits.time"},
		"idle that is below zero": {func(m *functions.Manifest) { m.Limits.Idle = -1 }, "must not be negative"},
	} {
		t.Run(name, func(t *testing.T) {
			m := answerManifest()
			tc.change(m)
			err := m.Validate()
			if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// TestManifest_CallLimits keeps a healthy long stream from being cut by a total that nobody set.
func TestManifest_CallLimits(t *testing.T) {
	m := answerManifest()
	m.Limits, m.Out.Stream = functions.Limits{}, false
	if got := m.CallLimits(); got != functions.DefaultLimits {
		t.Errorf("got %+v of one value", got)
	}
	want := functions.DefaultLimits
	want.Time = 0
	for _, side := range []*functions.Port{&m.In, &m.Out} {
		m.In.Stream, m.Out.Stream = false, false
		side.Stream = true
		if got := m.CallLimits(); got != want {
			t.Errorf("got %+v of a stream, want %+v", got, want)
		}
	}
	m.Limits.Time, want.Time = time.Second, time.Second
	if got := m.CallLimits(); got != want {
		t.Errorf("got %+v of a stream with a limit, want %+v", got, want)
	}
}

func TestLimits_WithDefaults(t *testing.T) {
	got := functions.Limits{Time: time.Second}.WithDefaults()
	want := functions.DefaultLimits
	want.Time = time.Second
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := (functions.Limits{}).WithDefaults(); got != functions.DefaultLimits {
		t.Errorf("got %+v, want the defaults", got)
	}
}

func TestModel(t *testing.T) {
	m := &functions.Model{Name: "llm", Engine: "llama", File: functions.DigestOf(nil), Size: 1, Context: 256}
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	var back functions.Model
	if err := json.Unmarshal(m.Canonical(), &back); err != nil || back.Digest() != m.Digest() || back.Ref() != m.Ref() {
		t.Errorf("read again: %+v, %v", back, err)
	}
	server := &functions.Model{Name: "llm", Engine: "openai", URL: "http://127.0.0.1:8000/v1", Served: "org/name"}
	if err := server.Validate(); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		bad  functions.Model
		want []string
	}{
		{functions.Model{Name: "L", Engine: "torch", Context: -1}, []string{`model name "L"`, `engine "torch"`, "must not be negative"}},
		{functions.Model{Name: "m", Engine: "llama", File: "x", URL: "http://h/v1"}, []string{`digest "x"`, "url and model belong to engine openai"}},
		{functions.Model{Name: "m", Engine: "openai", File: m.File}, []string{"url: write it as", "model is the name that the server has", "belong to engine llama"}},
	} {
		err := tt.bad.Validate()
		for _, want := range tt.want {
			if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("no fault says %q: %v", want, err)
			}
		}
	}
}

func TestCheckURL(t *testing.T) {
	for _, good := range []string{"http://127.0.0.1:8000/v1", "https://api.example.com/v1", "http://h", "http://[::1]:80/a/b"} {
		if err := functions.CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "h:80", "/v1", "ftp://h/v1", "http://", "http:///v1", "http://h/v1/", "http://h/", "http://u:secret@h/v1", "http://h/v1?key=secret",
		"http://h/v1#secret", "http://h/\nsecret", "http://h:port/v1", "http://h//v1", "http://h/v 1", "http://h/" + strings.Repeat("secret", 100)} {
		if err := functions.CheckURL(bad); !errors.Is(err, functions.ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v, want ErrInvalid that repeats no part of it", bad, err)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "asr-fast", "x9", strings.Repeat("a", 63)} {
		if err := functions.CheckName("step", name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "A", "9a", "-a", "a_b", "a.b", "a/b", "a\n", "\u00e9", strings.Repeat("a", 64), strings.Repeat("a", 1<<20)} {
		err := functions.CheckName("step", name)
		if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), "step name") || len(err.Error()) > 600 {
			t.Errorf("%.80q: got %.600v", name, err)
		}
	}
}
