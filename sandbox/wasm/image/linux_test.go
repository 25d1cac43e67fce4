package image_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/image"
)

// held counts this process's descriptors and its mappings of images.
func held(t *testing.T) (descriptors, mappings int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries), bytes.Count(maps, []byte("memfd:catenary-image"))
}

func TestImage_GivesEverythingBack(t *testing.T) {
	descriptors, mappings := held(t)
	dir := t.TempDir()
	if err := image.Write(dir, image.Meta{}, pattern(4)); err != nil {
		t.Fatal(err)
	}
	bad := t.TempDir()
	whole, _ := os.ReadFile(dir + "/image")
	whole[len(whole)-1] ^= 1
	if err := os.WriteFile(bad+"/image", whole, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if _, err := image.Open(bad); !errors.Is(err, functions.ErrInvalid) {
			t.Fatal(err)
		}
		im, err := image.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		var memories []*image.Memory
		for range 4 {
			m, err := im.NewMemory(8 * wasmPage)
			if err != nil {
				t.Fatal(err)
			}
			m.Reallocate(0)
			m.PrivateBytes()
			memories = append(memories, m)
		}
		// The image, the table of pages, and a userfaultfd where there is one.
		if d, m := held(t); d < descriptors+2 || d > descriptors+3 || m != mappings+5 {
			t.Fatalf("while open: got %d descriptors and %d mappings, began with %d and %d", d, m, descriptors, mappings)
		}
		im.Close()
		for _, m := range memories {
			m.Free()
		}
	}
	if d, m := held(t); d != descriptors || m != mappings {
		t.Errorf("got %d descriptors and %d mappings, began with %d and %d", d, m, descriptors, mappings)
	}
}

// What was written counts, what was only read doesn't.
func TestMemory_PrivateBytes(t *testing.T) {
	page := os.Getpagesize()
	im, _ := open(t, pattern(64))
	m := newMemory(t, im, 128*wasmPage)
	mem := m.Reallocate(100 * wasmPage)
	if got := m.PrivateBytes(); got != 0 {
		t.Errorf("untouched: got %d", got)
	}
	sum := 0
	for at := 0; at < 64*wasmPage; at += page {
		sum += int(mem[at])
	}
	if got := m.PrivateBytes(); got != 0 {
		t.Errorf("read: got %d (sum %d)", got, sum)
	}
	const n = 300 // scattered, so that they come in more regions than one look returns
	for i := range n {
		mem[i*2*page]++
	}
	for i := range n {
		mem[64*wasmPage+i*2*page/4]++
	}
	beyond := (n*2*page/4 + page - 1) / page
	if got, want := m.PrivateBytes(), int64((n+beyond)*page); got != want {
		t.Errorf("written: got %d, want %d", got, want)
	}
}

// An image's bytes are final: whoever gets hold of its descriptor can't change them.
func TestImage_Sealed(t *testing.T) {
	open(t, pattern(4))
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, e := range entries {
		path := "/proc/self/fd/" + e.Name()
		if target, _ := os.Readlink(path); target != "/memfd:catenary-image (deleted)" {
			continue
		}
		found++
		if err := os.Truncate(path, 0); err == nil {
			t.Error("it can be truncated")
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			continue
		}
		if _, err := f.WriteAt([]byte{1}, 0); err == nil {
			t.Error("it can be written")
		}
		f.Close()
	}
	if found == 0 {
		t.Error("no image found")
	}
}
