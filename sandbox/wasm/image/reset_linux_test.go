package image

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/catenary-run/catenary/functions"
)

// openPattern opens an image of half a MiB of random bytes, zeroes, as much again, and zeroes up to size.
func openPattern(t testing.TB, size int) (im *Image, want []byte) {
	t.Helper()
	dir := t.TempDir()
	want = make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(want[:512<<10])
	random.Read(want[1<<20 : 1<<20+512<<10])
	if err := Write(dir, Meta{}, want); err != nil {
		t.Fatal(err)
	}
	im, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	return im, want
}

// waysToLook are the kernels that a reset can meet, by name: how they tell which pages were written.
func waysToLook(t testing.TB, im *Image) map[string]*pageMap {
	t.Helper()
	f := im.held.pages.file
	ways := map[string]*pageMap{"nothing is told": nil, "the table of pages is read": {f, readPages}}
	if err := scanPages(f, nil, nil); err == nil { // Linux 6.7
		ways["pages are scanned"] = &pageMap{f, scanPages}
	}
	return ways
}

// Whatever was written, and however the kernel tells it, a memory that was reset has the image's bytes, and holds no
// more than it says.
func TestReset_Property(t *testing.T) {
	const size = 4 << 20
	im, want := openPattern(t, size)
	page := os.Getpagesize()
	for name, pages := range waysToLook(t, im) {
		t.Run(name, func(t *testing.T) {
			im.held.pages = pages
			single := im.held.faults
			defer func() { im.held.faults = single }()
			rapid.Check(t, func(t *rapid.T) {
				im.held.faults = rapid.SampledFrom([]*faults{single, nil}).Draw(t, "faults")
				m, err := im.NewMemory(2 * size)
				if err != nil {
					t.Fatal(err)
				}
				defer m.Free()
				mem := m.Reallocate(0)
				for range rapid.IntRange(1, 6).Draw(t, "calls") {
					for range rapid.IntRange(0, 12).Draw(t, "writes") {
						n := rapid.SampledFrom([]int{1, 1, page, 5 * page, 300 * page}).Draw(t, "bytes")
						at := rapid.IntRange(0, size-n).Draw(t, "at")
						for i := at; i < at+n; i += 64 {
							mem[i]++
						}
					}
					if err := m.Reset(); err != nil {
						t.Fatal(err)
					}
					if got := m.PrivateBytes(); pages != nil && got != m.KeptBytes() {
						t.Fatalf("%d bytes are its own and it says %d", got, m.KeptBytes())
					}
					if m.KeptBytes() > int64(maxKept*page) {
						t.Fatalf("it keeps %d bytes", m.KeptBytes())
					}
					if !bytes.Equal(mem, want) {
						t.Fatal("the memory differs from the image")
					}
				}
			})
		})
	}
}

// A memory keeps what every call writes, whatever a single call wrote, and forgets what no call writes any more.
func TestReset_Keeps(t *testing.T) {
	const size = 8 << 20
	im, _ := openPattern(t, size)
	page := os.Getpagesize()
	m, err := im.NewMemory(size)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	mem := m.Reallocate(0)
	call := func(pages ...int) int {
		for _, p := range pages {
			mem[p*page]++
		}
		if err := m.Reset(); err != nil {
			t.Fatal(err)
		}
		if got := m.PrivateBytes(); got != m.KeptBytes() {
			t.Fatalf("%d bytes are its own and it says %d", got, m.KeptBytes())
		}
		return int(m.KeptBytes()) / page
	}
	usual := []int{1, 70, 900, 901, 2000}
	if got := call(usual...); got != len(usual) {
		t.Fatalf("after a call of %d pages it keeps %d", len(usual), got)
	}
	var all []int
	for p := range size / page {
		all = append(all, p)
	}
	if got := call(all...); got != maxKept {
		t.Errorf("after a call that wrote everything it keeps %d pages, want %d", got, maxKept)
	}
	for range patience {
		call(usual...)
	}
	if got := call(usual...); got != len(usual) {
		t.Errorf("after %d usual calls it keeps %d pages, want the %d usual ones", patience+1, got, len(usual))
	}
	for range patience {
		call()
	}
	if got := call(); got != 0 {
		t.Errorf("after %d calls that wrote nothing it keeps %d pages", patience+1, got)
	}
}

// What a call only reads is mapped page by page from the first reset on: the next resets have to walk over all that is.
func TestReset_FewPagesAreMapped(t *testing.T) {
	const size = 4 << 20
	im, _ := openPattern(t, size)
	if im.held.faults == nil {
		t.Log("there is no userfaultfd here: pages come in groups")
	}
	m, err := im.NewMemory(size)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	mem := m.Reallocate(0)
	page := os.Getpagesize()
	sum := 0
	call := func() (mapped int) {
		for at := 0; at < len(mem); at += 32 * page {
			sum += int(mem[at])
		}
		mem[page]++
		mapped = mappedPages(t, mem)
		if err := m.Reset(); err != nil {
			t.Fatal(err)
		}
		return mapped
	}
	want := size/(32*page) + 1
	first, second, third := call(), call(), call()
	if first <= want {
		t.Fatalf("of %d pages that a call touches %d are mapped: this kernel maps no others, and the test shows nothing", want, first)
	}
	if im.held.faults == nil {
		want = first
	}
	if second != want || third != want {
		t.Errorf("mapped after the calls: %d, %d and %d pages (sum %d); from the second on %d are touched", first, second, third, sum, want)
	}
	if got := m.KeptBytes(); got != int64(page) || m.PrivateBytes() != got {
		t.Errorf("it keeps %d bytes and %d are its own, want the page that each call writes", got, m.PrivateBytes())
	}
}

// mappedPages counts the pages of mem that the kernel has mapped, whoever's they are.
func mappedPages(t *testing.T, mem []byte) (n int) {
	t.Helper()
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := os.Getpagesize()
	entries := make([]byte, len(mem)/page*8)
	if _, err := f.ReadAt(entries, int64(uintptr(unsafe.Pointer(unsafe.SliceData(mem))))/int64(page)*8); err != nil {
		t.Fatal(err)
	}
	for i := 7; i < len(entries); i += 8 {
		n += int(entries[i] >> 7) // the highest bit: present
	}
	return n
}

func TestReset_Refuses(t *testing.T) {
	im, want := openPattern(t, 2<<20)
	memory := func(limit int64) *Memory {
		m, err := im.NewMemory(limit)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Free)
		m.Reallocate(0)
		return m
	}
	refused := memory(2 << 20)
	if refused.Reallocate(3<<20) != nil || !refused.Refused() {
		t.Fatal("it grew beyond its limit")
	}
	if err := refused.Reset(); err != nil || refused.Refused() {
		t.Errorf("one that was refused memory: error %v, refused %v after it", err, refused.Refused())
	}
	grown := memory(4 << 20)
	grown.Reallocate(3 << 20)
	if err := grown.Reset(); err == nil {
		t.Error("one that has grown was reset")
	}
	plain, err := NewPlainMemory(1<<20, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Free()
	plain.Reallocate(1 << 20)
	if err := plain.Reset(); err == nil {
		t.Error("one without an image was reset")
	}
	freed := memory(2 << 20)
	freed.Free()
	if err := freed.Reset(); !errors.Is(err, functions.ErrClosed) {
		t.Errorf("one that was freed: got %v, want functions.ErrClosed", err)
	}
	orphan := memory(2 << 20)
	orphan.Bytes()[0]++
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if err := orphan.Reset(); !errors.Is(err, functions.ErrClosed) {
		t.Errorf("one whose image is closed: got %v, want functions.ErrClosed", err)
	}
	if got := orphan.Bytes(); got[0] != want[0]+1 || got[1] != want[1] {
		t.Error("it has lost its bytes")
	}
}

// A scan that fails is an error: what it did not see must not reach another call.
func TestReset_FailedScan(t *testing.T) {
	im, _ := openPattern(t, 2<<20)
	broken := errors.New("broken")
	im.held.pages = &pageMap{im.held.pages.file, func(*os.File, []byte, func(pageRun)) error { return broken }}
	m, err := im.NewMemory(2 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	m.Reallocate(0)
	if err := m.Reset(); !errors.Is(err, broken) {
		t.Errorf("got %v, want the failure", err)
	}
}

// BenchmarkReset is the reset of an 8 MiB memory of which 40 scattered pages were written.
func BenchmarkReset(b *testing.B) {
	im, _ := openPattern(b, 8<<20)
	for name, pages := range waysToLook(b, im) {
		b.Run(name, func(b *testing.B) {
			im.held.pages = pages
			m, err := im.NewMemory(8 << 20)
			if err != nil {
				b.Fatal(err)
			}
			defer m.Free()
			mem := m.Reallocate(0)
			b.ReportAllocs()
			for b.Loop() {
				for i := range 40 {
					mem[i*20000]++
				}
				if err := m.Reset(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
