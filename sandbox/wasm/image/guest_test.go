package image_test

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
	"github.com/catenary-run/catenary/sandbox/wasm/image"
	"github.com/catenary-run/catenary/sandbox/wasm/rewrite"
)

const guestMax = 64 << 20

// captured is a Go guest that was started, warmed and captured.
type captured struct {
	runtime wazero.Runtime
	code    wazero.CompiledModule
	module  *rewrite.Module
	image   *image.Image
	memory  []byte // the bytes at the capture
}

func capture(t *testing.T) *captured {
	t.Helper()
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "guest.wasm")
	testkit.GoBuild(t, "sandbox/wasm/image/testdata/guest", file,
		[]string{"GOOS=wasip1", "GOARCH=wasm"}, "-buildmode=c-shared")
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := &captured{runtime: wazero.NewRuntime(ctx)}
	t.Cleanup(func() { c.runtime.Close(context.Background()) })
	if c.module, err = rewrite.Rewrite(wasm, rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	if c.module.Uncapturable != "" {
		t.Fatal(c.module.Uncapturable)
	}
	wasi_snapshot_preview1.MustInstantiate(ctx, c.runtime)
	_, err = c.runtime.NewHostModuleBuilder(abi.FuelModule).NewFunctionBuilder().WithFunc(func() {}).
		Export(abi.FuelYield).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if c.code, err = c.runtime.CompileModule(ctx, c.module.Wasm); err != nil {
		t.Fatal(err)
	}
	plain, err := image.NewPlainMemory(guestMax, c.module.Data)
	if err != nil {
		t.Fatal(err)
	}
	in := c.instantiate(t, plain)
	call(t, in, abi.Initialize)
	call(t, in, "draw_v1")
	call(t, in, "draw_v2")
	call(t, in, "sum")
	c.memory = slices.Clone(plain.Bytes())
	meta := image.Meta{ModuleHash: "hash", Engine: "wazero", Seeds: image.FindSeeds(c.memory), ClockBase: 7}
	for _, g := range c.module.Globals {
		meta.GlobalNames = append(meta.GlobalNames, g.Export)
		meta.Globals = append(meta.Globals, in.ExportedGlobal(g.Export).Get())
	}
	if err := in.Close(ctx); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := image.Write(dir, meta, c.memory); err != nil {
		t.Fatal(err)
	}
	if c.image, err = image.Open(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.image.Close() })
	return c
}

// instantiate makes an instance whose memory is m. It takes over m.
func (c *captured) instantiate(t *testing.T, m *image.Memory) api.Module {
	t.Helper()
	ctx := experimental.WithMemoryAllocator(t.Context(),
		experimental.MemoryAllocatorFunc(func(_, _ uint64) experimental.LinearMemory { return m }))
	in, err := c.runtime.InstantiateModule(ctx, c.code,
		wazero.NewModuleConfig().WithName("").WithStartFunctions().WithRandSource(rand.Reader))
	if err != nil {
		m.Free()
		t.Fatal(err)
	}
	return in
}

// restore makes an instance of the image.
func (c *captured) restore(t *testing.T) (api.Module, *image.Memory) {
	t.Helper()
	m, err := c.image.NewMemory(guestMax)
	if err != nil {
		t.Fatal(err)
	}
	in := c.instantiate(t, m)
	meta := c.image.Meta()
	for i, name := range meta.GlobalNames {
		in.ExportedGlobal(name).(api.MutableGlobal).Set(meta.Globals[i])
	}
	return in, m
}

func call(t *testing.T, in api.Module, name string, args ...uint64) uint64 {
	t.Helper()
	res, err := in.ExportedFunction(name).Call(t.Context(), args...)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(res) == 0 {
		return 0
	}
	return res[0]
}

// Making the guest takes longer than all that is asked of it, so the tests share it.
func TestGuest(t *testing.T) {
	c := capture(t)
	t.Run("EveryInstanceStartsAtTheImage", func(t *testing.T) { everyInstanceStartsAtTheImage(t, c) })
	t.Run("RandomNumbersNeverRepeat", func(t *testing.T) { randomNumbersNeverRepeat(t, c) })
}

func everyInstanceStartsAtTheImage(t *testing.T, c *captured) {
	for range 50 {
		in, m := c.restore(t)
		if got := call(t, in, "count"); got != 1 {
			t.Fatalf("count: got %d, want 1", got)
		}
		if got := call(t, in, "sum"); got != 999*1000/2 {
			t.Fatalf("sum: got %d", got)
		}
		call(t, in, "dirty", 500)
		if m.PrivateBytes() < 500*4096 {
			t.Fatalf("private bytes: got %d after 500 pages were written", m.PrivateBytes())
		}
		in.Close(t.Context())
		if m.Bytes() != nil {
			t.Fatal("closing the instance does not free its memory")
		}
	}
}

// Two calls draw from each source; without a new key all instances would draw the same.
func randomNumbersNeverRepeat(t *testing.T, c *captured) {
	const instances = 1500
	seeds := c.image.Meta().Seeds
	if len(seeds) < 2 {
		t.Fatalf("random states: got %d, want those of the runtime and of its thread at least", len(seeds))
	}
	sources := []string{"draw_v1", "draw_v2", "draw_hash"}
	draw := func(reseed bool, seen map[uint64]int) (repeated int) {
		in, m := c.restore(t)
		defer in.Close(t.Context())
		if reseed {
			if err := image.Reseed(m.Bytes(), seeds, rand.Reader); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range sources {
			for range 2 {
				v := call(t, in, s)
				if seen[v]++; seen[v] > 1 {
					repeated++
				}
			}
		}
		return repeated
	}

	seen := map[uint64]int{}
	draw(false, seen)
	if got, want := draw(false, seen), 2*len(sources); got != want {
		t.Fatalf("without new keys: %d numbers repeat, want %d: the test proves nothing", got, want)
	}
	clear(seen)
	for range instances {
		if n := draw(true, seen); n > 0 {
			t.Fatalf("%d numbers repeat", n)
		}
	}
	if got, want := len(seen), instances*2*len(sources); got != want {
		t.Errorf("different numbers: got %d, want %d", got, want)
	}
}
