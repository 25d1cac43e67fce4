package image_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/image"
	"github.com/catenary-run/catenary/sandbox/wasm/rewrite"
)

const wasmPage = 64 << 10

// pattern returns pages of memory with random bytes, a run of zeroes in the middle and zeroes at the end.
func pattern(pages int) []byte {
	mem := make([]byte, pages*wasmPage)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(mem[:len(mem)*3/4])
	clear(mem[len(mem)/4 : len(mem)/2])
	return mem
}

// open writes mem and opens it.
func open(t testing.TB, mem []byte) (*image.Image, string) {
	t.Helper()
	dir := t.TempDir()
	meta := image.Meta{ModuleHash: "abc", Engine: "test", GlobalNames: []string{"g"}, Globals: []uint64{1<<64 - 1}, Seeds: []uint32{8}, ClockBase: -3}
	if err := image.Write(dir, meta, mem); err != nil {
		t.Fatal(err)
	}
	im, err := image.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	return im, dir
}

func newMemory(t testing.TB, im *image.Image, limit int64) *image.Memory {
	t.Helper()
	m, err := im.NewMemory(limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Free)
	return m
}

func TestImage_MetaAndFile(t *testing.T) {
	mem := pattern(16)
	im, dir := open(t, mem)
	want := image.Meta{
		ModuleHash: "abc", Engine: "test", GlobalNames: []string{"g"}, Globals: []uint64{1<<64 - 1}, Seeds: []uint32{8},
		ClockBase: -3, MemBytes: 16 * wasmPage, FileBytes: 12 * wasmPage,
	}
	if diff := cmp.Diff(want, im.Meta()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	info, err := os.Stat(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o400 {
		t.Errorf("mode: got %o", got)
	}
	if info.Size() > 12*wasmPage+1024 {
		t.Errorf("size: got %d: the zeroes at the end should not be there", info.Size())
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Errorf("files: got %v", entries)
	}
	if got := im.MappedBytes(); got <= 0 || got > 12*wasmPage {
		t.Errorf("mapped bytes: got %d", got)
	}
}

func TestImage_EmptyAndZero(t *testing.T) {
	for _, mem := range [][]byte{nil, make([]byte, 2*wasmPage)} {
		dir := t.TempDir()
		if err := image.Write(dir, image.Meta{}, mem); err != nil {
			t.Fatal(err)
		}
		im, err := image.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		m := newMemory(t, im, 4*wasmPage)
		if got := m.Reallocate(0); len(got) != len(mem) || !bytes.Equal(got, mem) {
			t.Errorf("got %d bytes, want %d zeroes", len(got), len(mem))
		}
		m.Free()
		im.Close()
	}
}

// A new capture replaces the old one, and who has the old one open keeps it.
func TestImage_Replaced(t *testing.T) {
	mem := pattern(4)
	old, dir := open(t, mem)
	other := bytes.Repeat([]byte{7}, 2*wasmPage)
	if err := image.Write(dir, image.Meta{}, other); err != nil {
		t.Fatal(err)
	}
	im, err := image.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if got := newMemory(t, im, 4*wasmPage).Reallocate(0); !bytes.Equal(got, other) {
		t.Error("the new image is not there")
	}
	if got := newMemory(t, old, 4*wasmPage).Reallocate(0); !bytes.Equal(got, mem) {
		t.Error("the old image has changed")
	}
}

func TestImage_WriteRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		meta image.Meta
		mem  []byte
	}{
		"half a page":      {image.Meta{}, make([]byte, 100)},
		"globals":          {image.Meta{Globals: []uint64{1}}, nil},
		"state beyond":     {image.Meta{Seeds: []uint32{wasmPage - 8}}, make([]byte, wasmPage)},
		"state far beyond": {image.Meta{Seeds: []uint32{1<<32 - 1}}, make([]byte, wasmPage)},
	} {
		dir := t.TempDir()
		if err := image.Write(dir, c.meta, c.mem); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 0 {
			t.Errorf("%s: left %v", name, entries)
		}
	}
	if err := image.Write(filepath.Join(t.TempDir(), "nowhere"), image.Meta{}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: got %v", err)
	}
}

func TestImage_DamagedIsRefused(t *testing.T) {
	_, dir := open(t, pattern(4))
	whole, err := os.ReadFile(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.Open(t.TempDir()); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("missing: got %v", err)
	}
	refused := func(name string, content []byte) {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "image"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if im, err := image.Open(dir); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("%s: got %v, %v", name, im, err)
		}
	}
	for _, n := range []int{0, 1, 8, 19, 20, 21, 60, len(whole) / 2, len(whole) - 1} {
		refused("truncated", whole[:n])
	}
	refused("too long", append(bytes.Clone(whole), 0))
	r := rand.New(rand.NewPCG(1, 2))
	text := bytes.IndexByte(whole, '{')
	flip := func(at int) {
		b := bytes.Clone(whole)
		b[at] ^= 1 << r.IntN(8)
		refused("a bit flipped", b)
	}
	for at := range text + 200 { // header and description
		flip(at)
	}
	for range 100 {
		flip(r.IntN(len(whole)))
	}
}

func TestMemory_SiblingsDontSeeEachOther(t *testing.T) {
	mem := pattern(64)
	im, _ := open(t, mem)
	var wg sync.WaitGroup
	for seed := range uint64(8) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for range 25 {
				m, err := im.NewMemory(128 * wasmPage)
				if err != nil {
					t.Error(err)
					return
				}
				got := m.Reallocate(wasmPage)
				if !bytes.Equal(got, mem) {
					t.Error("a new memory differs from the image")
				}
				got = m.Reallocate(uint64(len(mem)) + wasmPage)
				if !bytes.Equal(got[:len(mem)], mem) || !bytes.Equal(got[len(mem):], make([]byte, wasmPage)) {
					t.Error("a grown memory differs from the image and zeroes")
				}
				for range 300 {
					got[r.IntN(len(got))] ^= byte(1 + r.IntN(255))
				}
				m.Free()
			}
		})
	}
	wg.Wait()
	if got := newMemory(t, im, 64*wasmPage).Reallocate(0); !bytes.Equal(got, mem) {
		t.Error("the image has changed")
	}
}

func TestMemory_GrowthAndItsEnd(t *testing.T) {
	im, _ := open(t, pattern(4))
	m := newMemory(t, im, 6*wasmPage)
	if len(m.Bytes()) != 0 {
		t.Error("bytes before the first Reallocate")
	}
	first := m.Reallocate(wasmPage)
	if len(first) != 4*wasmPage || cap(first) != len(first) || m.Grown() {
		t.Fatalf("first: got %d of %d bytes, grown %v", len(first), cap(first), m.Grown())
	}
	if got := m.Reallocate(4 * wasmPage); len(got) != 4*wasmPage || m.Grown() {
		t.Errorf("the same size: got %d, grown %v", len(got), m.Grown())
	}
	grown := m.Reallocate(6 * wasmPage)
	if len(grown) != 6*wasmPage || !m.Grown() || m.Refused() || &grown[0] != &first[0] {
		t.Errorf("grown: got %d bytes, grown %v, refused %v", len(grown), m.Grown(), m.Refused())
	}
	if m.Reallocate(6*wasmPage+1) != nil || !m.Refused() {
		t.Error("it grew beyond its limit")
	}
	if m.Reallocate(1<<63) != nil || len(m.Bytes()) != 6*wasmPage {
		t.Error("a refused growth changed it")
	}
	m.Free()
	m.Free()
	if m.Bytes() != nil || m.Reallocate(wasmPage) != nil || m.PrivateBytes() != 0 {
		t.Error("it lives after Free")
	}
}

func TestMemory_LimitBelowTheImage(t *testing.T) {
	im, _ := open(t, pattern(4))
	if _, err := im.NewMemory(3 * wasmPage); !errors.Is(err, functions.ErrMemoryLimit) {
		t.Errorf("got %v", err)
	}
	for _, limit := range []int64{0, -1, 4<<30 + 1} {
		if _, err := im.NewMemory(limit); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("limit %d: got %v", limit, err)
		}
	}
	m, err := im.NewMemory(4 << 30) // address space only
	if err != nil {
		t.Fatal(err)
	}
	m.Free()
}

func TestMemory_Plain(t *testing.T) {
	data := []rewrite.Segment{{Offset: 10, Bytes: []byte("hello")}, {Offset: 12, Bytes: []byte("y")}, {Offset: wasmPage}}
	m, err := image.NewPlainMemory(2*wasmPage, data)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	got := m.Reallocate(wasmPage)
	if len(got) != wasmPage || string(got[9:16]) != "\x00heylo\x00" || m.Grown() {
		t.Errorf("got %d bytes, %q", len(got), got[9:16])
	}
	if got := m.Reallocate(2 * wasmPage); len(got) != 2*wasmPage || !m.Grown() {
		t.Errorf("grown: got %d", len(got))
	}
	if _, err := image.NewPlainMemory(14, data); !errors.Is(err, functions.ErrMemoryLimit) {
		t.Errorf("data beyond the limit: got %v", err)
	}
	if _, err := image.NewPlainMemory(wasmPage, []rewrite.Segment{{Offset: 1<<32 - 1, Bytes: []byte("x")}}); !errors.Is(err, functions.ErrMemoryLimit) {
		t.Errorf("data far beyond the limit: got %v", err)
	}
}

func TestImage_CloseWhileMemoriesLive(t *testing.T) {
	mem := pattern(4)
	im, _ := open(t, mem)
	m := newMemory(t, im, 4*wasmPage)
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if got := m.Reallocate(0); !bytes.Equal(got, mem) {
		t.Error("a memory lost its bytes when the image was closed")
	}
	if _, err := im.NewMemory(4 * wasmPage); !errors.Is(err, functions.ErrClosed) {
		t.Errorf("after close: got %v", err)
	}
	if im.MappedBytes() != 0 || im.Meta().ModuleHash != "abc" {
		t.Errorf("after close: %d bytes mapped, %+v", im.MappedBytes(), im.Meta())
	}
}

// state returns Go's random state at the beginning of a block: the values, the key, and the three counters.
func state(t *testing.T, key [32]byte, block uint32) []byte {
	t.Helper()
	g := rand.NewChaCha8(key)
	at := binary.BigEndian.AppendUint64([]byte("chacha8:"), uint64(block)*8)
	if err := g.UnmarshalBinary(append(at, key[:]...)); err != nil {
		t.Fatal(err)
	}
	values := uint32(32)
	if block == 12 {
		values = 28
	}
	var b []byte
	for range values {
		b = binary.LittleEndian.AppendUint64(b, g.Uint64())
	}
	b = append(append(b, make([]byte, 256-len(b))...), key[:]...)
	for _, n := range []uint32{3, values, block, 0} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}

func TestFindSeeds(t *testing.T) {
	mem := pattern(2)
	key := [32]byte{1, 2, 3}
	places := []uint32{0, 4096, 4096 + 304, wasmPage - 8, 2*wasmPage - 304}
	for i, at := range places {
		copy(mem[at:], state(t, key, []uint32{0, 4, 8, 12, 0}[i]))
	}
	if diff := cmp.Diff(places, image.FindSeeds(mem)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	mem[0]++              // a value
	mem[4096+256]++       // the key
	mem[4096+304+296] = 5 // the number of the block
	mem[wasmPage-8+292]++ // how many values there are
	mem[2*wasmPage-304+292] = 28
	if got := image.FindSeeds(mem); got != nil {
		t.Errorf("changed states: found at %v", got)
	}
	for n := range 304 {
		if got := image.FindSeeds(mem[:n]); got != nil {
			t.Errorf("%d bytes: found at %v", n, got)
		}
	}
}

func TestReseed(t *testing.T) {
	key := [32]byte{7}
	mem := append(make([]byte, 8), state(t, key, 4)...)
	random := bytes.Repeat([]byte{9}, 32)
	if err := image.Reseed(mem, []uint32{8}, bytes.NewReader(random)); err != nil {
		t.Fatal(err)
	}
	if got := mem[8+256 : 8+288]; !bytes.Equal(got, random) {
		t.Errorf("key: got %v", got)
	}
	if used, have := mem[8+288], mem[8+292]; used != have || have != 32 {
		t.Errorf("got %d values used of %d: old ones are left", used, have)
	}
}

func TestReseed_Errors(t *testing.T) {
	mem := make([]byte, 1000)
	if err := image.Reseed(mem, []uint32{800}, rand.NewChaCha8([32]byte{})); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("outside: got %v", err)
	}
	if err := image.Reseed(mem, []uint32{0}, strings.NewReader("short")); err == nil {
		t.Error("a source that ends gives no error")
	}
}

func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	if err := image.Write(dir, image.Meta{Seeds: []uint32{0}}, make([]byte, wasmPage)); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, "image"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:40])
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "image"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		im, err := image.Open(dir)
		if err != nil {
			if !errors.Is(err, functions.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		im.Close()
	})
}

func BenchmarkNewMemory(b *testing.B) {
	im, _ := open(b, pattern(128))
	b.ReportAllocs()
	for b.Loop() {
		m, err := im.NewMemory(256 << 20)
		if err != nil {
			b.Fatal(err)
		}
		m.Reallocate(0)
		m.Free()
	}
}

func BenchmarkFindSeeds(b *testing.B) {
	mem := pattern(1024)
	b.SetBytes(int64(len(mem)))
	for b.Loop() {
		image.FindSeeds(mem)
	}
}

func BenchmarkOpen(b *testing.B) {
	_, dir := open(b, pattern(128))
	b.SetBytes(96 * wasmPage)
	for b.Loop() {
		im, err := image.Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		im.Close()
	}
}
