package rewrite

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/catenary-run/catenary/internal/testkit"
)

// flite returns a C program of 21 MB that imports nothing a yield could borrow.
func flite(t testing.TB) []byte {
	t.Helper()
	wasm, err := os.ReadFile(testkit.FliteWASM(t))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// goGuest returns a Go reactor.
func goGuest(t testing.TB) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "guest.wasm")
	testkit.GoBuild(t, "sandbox/wasm/rewrite/testdata/guest", file,
		[]string{"GOOS=wasip1", "GOARCH=wasm"}, "-buildmode=c-shared")
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// start instantiates m with WASI, a folder and arguments, and counts its yields.
func start(t testing.TB, m *Module, yields *int, dir string, args ...string) api.Module {
	t.Helper()
	ctx := t.Context()
	rt := host(t, func() { *yields++ })
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions().WithStderr(os.Stderr).WithArgs(args...)
	if dir != "" {
		config = config.WithFSConfig(wazero.NewFSConfig().WithDirMount(dir, "/"))
	}
	in, err := rt.InstantiateWithConfig(ctx, m.Wasm, config)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Data {
		if !in.Memory().Write(d.Offset, d.Bytes) {
			t.Fatalf("no room for data at %d", d.Offset)
		}
	}
	return in
}

func TestGuest_FliteSpeaksTheSame(t *testing.T) {
	wasm := flite(t)
	m := mustRewrite(t, wasm, Options{FuelSlice: 1000})
	if m.Uncapturable != "" || !m.Command || m.Reactor {
		t.Fatalf("uncapturable %q, command %v, reactor %v", m.Uncapturable, m.Command, m.Reactor)
	}
	speak := func(m *Module) (wav []byte, yields int) {
		dir := t.TempDir()
		in := start(t, m, &yields, dir, "flite", "-t", "The catenary is the curve of a hanging chain.", "-o", "/out.wav")
		_, err := in.ExportedFunction("_start").Call(t.Context())
		if exit, ok := errors.AsType[*sys.ExitError](err); err != nil && (!ok || exit.ExitCode() != 0) {
			t.Fatal(err)
		}
		if wav, err = os.ReadFile(filepath.Join(dir, "out.wav")); err != nil {
			t.Fatal(err)
		}
		return wav, yields
	}
	want, none := speak(&Module{Wasm: wasm})
	got, yields := speak(m)
	if len(want) < 10_000 || !bytes.Equal(want, got) {
		t.Errorf("as it is: %d bytes, rewritten: %d bytes: they should be the same", len(want), len(got))
	}
	if none != 0 || yields < 500 {
		t.Errorf("got %d yields before and %d after", none, yields)
	}
}

func TestGuest_GoComputesTheSame(t *testing.T) {
	wasm := goGuest(t)
	m := mustRewrite(t, wasm, Options{FuelSlice: 1000})
	if m.Uncapturable != "" || m.Command || !m.Reactor || len(m.Globals) < 2 || len(m.Data) == 0 {
		t.Fatalf("uncapturable %q, command %v, reactor %v, %d globals, %d data segments",
			m.Uncapturable, m.Command, m.Reactor, len(m.Globals), len(m.Data))
	}
	work := func(m *Module) (sums []uint64, yields int) {
		in := start(t, m, &yields, "")
		if _, err := in.ExportedFunction("_initialize").Call(t.Context()); err != nil {
			t.Fatal(err)
		}
		for n := range uint64(40) {
			res, err := in.ExportedFunction("work").Call(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			sums = append(sums, res[0])
		}
		return sums, yields
	}
	want, _ := work(&Module{Wasm: wasm})
	got, yields := work(m)
	for n := range want {
		if want[n] == 0 || got[n] != want[n] {
			t.Errorf("work(%d): got %#x, want %#x", n, got[n], want[n])
		}
	}
	if yields < 500 {
		t.Errorf("got %d yields", yields)
	}
}

func BenchmarkRewrite(b *testing.B) {
	for _, c := range []struct {
		name string
		wasm []byte
	}{{"flite", flite(b)}, {"go", goGuest(b)}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.wasm)))
			for b.Loop() {
				mustRewrite(b, c.wasm, Options{})
			}
		})
	}
}
