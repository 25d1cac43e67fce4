package wasm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/wasm/scratch"
	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// newDriver returns a driver on a folder of the test that prepares in this process.
func newDriver(t testing.TB) *Driver {
	t.Helper()
	d, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// load prepares and loads a version. The code is closed with the test.
func load(t testing.TB, d *Driver, m *functions.Manifest, artifact string) (sandbox.Code, *sandbox.Image) {
	t.Helper()
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	img, err := d.Prepare(t.Context(), m, artifact)
	if err != nil {
		t.Fatal(err)
	}
	code, err := d.Load(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := code.Close(); err != nil {
			t.Error(err)
		}
	})
	return code, img
}

// serve runs one call on a new instance.
func serve(t testing.TB, code sandbox.Code, in any, blobs ...functions.Attachment) ([]functions.Item, error) {
	t.Helper()
	inst, err := code.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer inst.Close()
	v, err := value.Encode(in)
	if err != nil {
		t.Fatal(err)
	}
	var items []functions.Item
	err = inst.Serve(t.Context(), functions.Items(functions.Item{Value: v, Blobs: blobs}),
		functions.SinkFunc(func(_ context.Context, it functions.Item) error {
			items = append(items, it)
			return nil
		}), discardHost())
	return items, err
}

func fliteManifest(t *testing.T, artifact string) *functions.Manifest {
	b, err := os.ReadFile(artifact)
	if err != nil {
		t.Fatal(err)
	}
	return &functions.Manifest{
		Name: "speak", Kind: functions.KindWASI, Artifact: functions.DigestOf(b),
		In: functions.Port{Schema: functions.SchemaFor[struct {
			Text string `json:"text"`
		}]()},
		Out:    functions.Port{Schema: functions.SchemaFor[functions.Audio]()},
		Args:   []string{"flite", "-voice", "slt", "-t", "{text}", "-o", "{out}"},
		Output: &functions.CommandOutput{File: "out.wav", Type: "audio/wav"},
	}
}

func TestCommand_FliteSpeaksAsUnderStockWASI(t *testing.T) {
	const text = "The answer is -5, isn't it?"
	artifact := testkit.FliteWASM(t)
	code, img := load(t, goDriver(t, nil), fliteManifest(t, artifact), artifact)
	if !img.Captured {
		t.Errorf("not captured: %s", img.Why)
	}
	items, err := serve(t, code, map[string]string{"text": text})
	if err != nil {
		t.Fatal(err)
	}
	if len(items) != 1 || len(items[0].Blobs) != 1 {
		t.Fatalf("%d items", len(items))
	}
	got := items[0].Blobs[0].Data
	if want := stockFlite(t, artifact, text); !bytes.Equal(got, want) {
		t.Errorf("%d bytes differ from the %d that the module writes by itself", len(got), len(want))
	}
	info, err := wav.Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	var audio functions.Audio
	if err := value.Decode(items[0].Value, &audio); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(functions.Audio{Blob: items[0].Blobs[0].Blob, SampleHz: info.SampleHz, Channels: info.Channels, Dur: info.Dur}, audio); diff != "" {
		t.Error(diff)
	}
}

// stockFlite runs the unmodified module under wazero's own WASI, with a folder of the test.
func stockFlite(t *testing.T, artifact, text string) []byte {
	t.Helper()
	wasm, err := os.ReadFile(artifact)
	if err != nil {
		t.Fatal(err)
	}
	ctx, dir := t.Context(), t.TempDir()
	rt := wazero.NewRuntime(ctx)
	defer rt.Close(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	mod, err := rt.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().
		WithArgs("flite", "-voice", "slt", "-t", text, "-o", "/scratch/out.wav").
		WithFSConfig(wazero.NewFSConfig().WithDirMount(dir, "/scratch")))
	if err != nil && !strings.Contains(err.Error(), "exit_code(0)") {
		t.Fatal(err)
	}
	if mod != nil {
		mod.Close(ctx)
	}
	out, err := os.ReadFile(filepath.Join(dir, "out.wav"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type commandInput struct {
	Text  string         `json:"text"`
	N     int            `json:"n"`
	X     float64        `json:"x"`
	On    bool           `json:"on"`
	Raw   []byte         `json:"raw"`
	Blob  functions.Blob `json:"blob"`
	Dur   time.Duration  `json:"dur"`
	Maybe *string        `json:"maybe,omitempty"`
	List  []int          `json:"list"`
}

func commandManifest(args ...string) *functions.Manifest {
	return &functions.Manifest{
		Name: "cmd", Kind: functions.KindWASI, Args: args,
		In:     functions.Port{Schema: functions.SchemaFor[commandInput]()},
		Out:    functions.Port{Schema: functions.SchemaFor[string]()},
		Output: &functions.CommandOutput{File: "o/result.txt"},
	}
}

func TestParseCommand(t *testing.T) {
	for _, test := range []struct {
		arg  string
		want string // in the error; "" for none
	}{
		{"plain", ""},
		{"{text}", ""},
		{"--x={x},{n}", ""},
		{"{{text}}", ""},
		{"{raw|file}", ""},
		{"{text|file}", ""},
		{"{out}", ""},
		{"{raw}", "{raw|file}"},
		{"{blob}", "{blob|file}"},
		{"{list}", "neither text nor bytes"},
		{"{nothing}", "no such field"},
		{"{text|stdin}", "only file is known"},
		{"{it}", "neither text nor bytes"},
		{"{text", "brace"},
		{"text}", "brace"},
		{"{out|file}", "output file"},
		{"{}", "no such field"},
	} {
		_, err := parseCommand(commandManifest(test.arg))
		if test.want == "" {
			if err != nil {
				t.Errorf("%q: %v", test.arg, err)
			}
			continue
		}
		if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %v, want functions.ErrInvalid that says %q", test.arg, err, test.want)
		}
	}
	for _, file := range []string{"/etc/passwd", "../out", "a/../../b", ".", "a//b", strings.Repeat("x", 300)} {
		m := commandManifest()
		m.Output.File = file
		if _, err := parseCommand(m); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("output %q: got %v, want functions.ErrInvalid", file, err)
		}
	}
}

func bind(t *testing.T, in commandInput, blobs []functions.Attachment, args ...string) ([]string, *scratch.FS, error) {
	t.Helper()
	cmd, err := parseCommand(commandManifest(args...))
	if err != nil {
		t.Fatal(err)
	}
	v, err := value.Encode(in)
	if err != nil {
		t.Fatal(err)
	}
	byDigest := map[functions.Digest]functions.Attachment{}
	for _, b := range blobs {
		byDigest[b.Digest] = b
	}
	dir := scratch.New(1 << 20)
	got, err := cmd.bind(v, byDigest, dir)
	return got, dir, err
}

func TestCommand_BindsItsInput(t *testing.T) {
	blob := functions.Attach("audio/x-test", []byte("sound"))
	in := commandInput{Text: "a b\n{n}", N: -3, X: 0.5, On: true, Raw: []byte{0, 1}, Blob: blob.Blob, Dur: 1500 * time.Millisecond, List: []int{}}
	got, dir, err := bind(t, in, []functions.Attachment{blob}, "cmd", "--n={n}", "{text}", "{x}{on}", "{{{n}}}", "{dur}",
		"{raw|file}", "{blob|file}", "again:{raw|file}", "{text|file}", "{out}")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"cmd", "--n=-3", "a b\n{n}", "0.5true", "{-3}", "1.5s",
		"/scratch/.in-0", "/scratch/.in-1", "again:/scratch/.in-0", "/scratch/.in-2", "/scratch/o/result.txt"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, content := range map[string]string{".in-0": "\x00\x01", ".in-1": "sound", ".in-2": "a b\n{n}"} {
		n, err := dir.Root().Find(name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if string(n.Bytes()) != content {
			t.Errorf("%s holds %q, want %q", name, n.Bytes(), content)
		}
	}
}

func TestCommand_RefusesInput(t *testing.T) {
	blob := functions.Attach("audio/x-test", []byte("sound"))
	for _, test := range []struct {
		name string
		in   commandInput
		arg  string
		want string
	}{
		{"a missing field", commandInput{}, "{maybe}", "no value"},
		{"a zero byte", commandInput{Text: "a\x00b"}, "{text}", "zero byte"},
		{"a blob without bytes", commandInput{Blob: blob.Blob}, "{blob|file}", "does not travel"},
		{"a long text", commandInput{Text: strings.Repeat("x", maxArgBytes)}, "{text}", "{field|file}"},
	} {
		if test.in.Blob.Digest == "" {
			test.in.Blob = blob.Blob
		}
		test.in.List = []int{}
		if _, _, err := bind(t, test.in, nil, test.arg); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want functions.ErrInvalid that says %q", test.name, err, test.want)
		}
	}
}

func FuzzParseArg(f *testing.F) {
	for _, s := range []string{"{text}", "{{", "}}", "a{n}b{out}", "{raw|file}", "{", "}", "{}", "{{}"} {
		f.Add(s, "text")
	}
	f.Fuzz(func(t *testing.T, arg, text string) {
		cmd, err := parseCommand(commandManifest(arg))
		if err != nil {
			if !errors.Is(err, functions.ErrInvalid) {
				t.Fatalf("%q: %v", arg, err)
			}
			return
		}
		blob := functions.Attach("x/y", nil)
		v, err := value.Encode(commandInput{Text: text, Blob: blob.Blob, List: []int{}})
		if err != nil {
			return // text that is not UTF-8
		}
		args, err := cmd.bind(v, map[functions.Digest]functions.Attachment{blob.Digest: blob}, scratch.New(1<<20))
		if err != nil && !errors.Is(err, functions.ErrInvalid) {
			t.Fatalf("%q: %v", arg, err)
		}
		if err == nil && (len(args) != 1 || strings.ContainsRune(args[0], 0)) {
			t.Fatalf("%q became %q", arg, args)
		}
	})
}

// toolManifest returns a manifest of the command tool, which it builds, with arguments behind the program's name.
func toolManifest(t *testing.T, args ...string) (string, *functions.Manifest) {
	t.Helper()
	out := build(t, "tool.wasm", func(out string) {
		testkit.GoBuild(t, "sandbox/wasm/testdata/tool", out, []string{"GOOS=wasip1", "GOARCH=wasm"}, "-ldflags=-s -w")
	})
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return out, &functions.Manifest{
		Name: "tool", Kind: functions.KindWASI, Artifact: functions.DigestOf(b), Args: append([]string{"tool"}, args...),
		In:     functions.Port{Schema: functions.SchemaFor[toolInput]()},
		Out:    functions.Port{Schema: functions.SchemaFor[string]()},
		Output: &functions.CommandOutput{Stdout: true},
	}
}

type toolInput struct {
	Do   string `json:"do"`
	Text string `json:"text"`
	Raw  []byte `json:"raw"`
}

func TestCommand_Tool(t *testing.T) {
	d := goDriver(t, nil)
	artifact, base := toolManifest(t, "{do}", "{text}")
	asItIs, _ := load(t, d, base, artifact)
	for _, test := range []struct {
		do, text string
		edit     func(*functions.Manifest)
		want     string // the output
		err      error
		says     string
	}{
		{do: "args", text: "a b", want: "a b"},
		{do: "exit0", want: "done"},
		{do: "stdin", want: "0 0"},
		{do: "silent", want: ""},
		{do: "files", want: "all is well"},
		{do: "exit", err: functions.ErrFunction, says: "exit status 3: I can't go on"},
		{do: "panic", err: functions.ErrFunction, says: "panic: I won't go on"},
		{do: "copy", text: "none", err: functions.ErrFunction},
		{do: "spin", err: functions.ErrTimeLimit, edit: func(m *functions.Manifest) { m.Limits.Time = 50 * time.Millisecond }},
		{do: "sleep", err: functions.ErrTimeLimit, edit: func(m *functions.Manifest) { m.Limits.Time = 50 * time.Millisecond }},
		{do: "flood", err: functions.ErrOutputLimit, edit: func(m *functions.Manifest) { m.Limits.OutBytes = 1 << 20 }},
		{do: "fill", text: "f", err: functions.ErrOutputLimit, edit: func(m *functions.Manifest) { m.Limits.OutBytes = 1 << 20 }},
		{do: "grow", err: functions.ErrMemoryLimit, edit: func(m *functions.Manifest) { m.Limits.MemBytes = 32 << 20 }},
		{do: "silent", err: functions.ErrFunction, says: "no file out", edit: func(m *functions.Manifest) { m.Output = &functions.CommandOutput{File: "out"} }},
		{do: "args", text: "\xff", err: functions.ErrInvalid},
	} {
		t.Run(test.do, func(t *testing.T) {
			code := asItIs
			if test.edit != nil {
				m := *base
				test.edit(&m)
				code, _ = load(t, d, &m, artifact)
			}
			in := map[string]any{"do": test.do, "text": test.text, "raw": []byte{}}
			if test.text == "\xff" {
				in = map[string]any{"do": "args"} // a field is missing
			}
			items, err := serve(t, code, in)
			if !errors.Is(err, test.err) || functions.CodeOf(err) != functions.CodeOf(test.err) && err != nil {
				t.Fatalf("got %v, want %v", err, test.err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), test.says) {
					t.Errorf("%v does not say %q", err, test.says)
				}
				return
			}
			var got string
			if err := value.Decode(items[0].Value, &got); err != nil {
				t.Fatal(err)
			}
			if len(items) != 1 || got != test.want {
				t.Errorf("%d items, the first %q, want %q", len(items), got, test.want)
			}
		})
	}
}

func TestCommand_Outputs(t *testing.T) {
	d := goDriver(t, nil)
	for _, test := range []struct {
		name   string
		args   []string
		schema *functions.Schema
		output functions.CommandOutput
		want   any
		blob   string
	}{
		{"bytes from a file", []string{"copy", "{raw|file}", "{out}"}, functions.SchemaFor[[]byte](), functions.CommandOutput{File: "deep/er/out"}, []byte("\x00raw!"), ""},
		{"a blob", []string{"copy", "{raw|file}", "{out}"}, functions.SchemaFor[functions.Blob](), functions.CommandOutput{File: "out", Type: "x/y"}, functions.Attach("x/y", []byte("\x00raw!")).Blob, "\x00raw!"},
		{"JSON", []string{"json", "{text}"}, functions.SchemaFor[struct {
			Text string `json:"text"`
		}](), functions.CommandOutput{Stdout: true}, map[string]any{"text": "t"}, ""},
		{"a JSON string", []string{"args", `"quoted"`}, functions.SchemaFor[string](), functions.CommandOutput{Stdout: true, Type: "application/json"}, "quoted", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			artifact, m := toolManifest(t, test.args...)
			m.Out.Schema, m.Output = test.schema, &test.output
			code, _ := load(t, d, m, artifact)
			items, err := serve(t, code, toolInput{Text: "t", Raw: []byte("\x00raw")})
			if err != nil {
				t.Fatal(err)
			}
			want, err := value.Encode(test.want)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(items[0].Value, want) {
				t.Errorf("value %x, want %x", items[0].Value, want)
			}
			if test.blob != "" && (len(items[0].Blobs) != 1 || string(items[0].Blobs[0].Data) != test.blob) {
				t.Errorf("blobs %v", items[0].Blobs)
			}
		})
	}
	artifact, m := toolManifest(t, "args", "not {{json")
	m.Out.Schema = functions.SchemaFor[struct{ A int }]()
	code, _ := load(t, d, m, artifact)
	if _, err := serve(t, code, toolInput{Raw: []byte{}}); !errors.Is(err, functions.ErrFunction) || functions.CodeOf(err) != "function" {
		t.Errorf("wrong JSON: got %v, want functions.ErrFunction", err)
	}
}
