package cuda

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/functions"
)

// loadFill returns the kernel of testdata, for as long as the test lasts.
func loadFill(t *testing.T, d *Device) *Kernel {
	t.Helper()
	ptx, err := os.ReadFile("testdata/fill.ptx")
	if err != nil {
		t.Fatal(err)
	}
	m, err := d.LoadModule(ptx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	fill, err := m.Kernel("fill")
	if err != nil {
		t.Fatal(err)
	}
	return fill
}

// TestGraphReplaysAfterWake: what was captured is carried out at each launch and not before, also when its memory has been
// away.
func TestGraphReplaysAfterWake(t *testing.T) {
	b := newBench(t)
	b.load("m")
	fill, s := loadFill(t, b.device), newStream(t, b.device)
	g, err := s.Capture(func() error { return fill.Launch(s, 1, 32, uint64(b.kv), 2, 7) })
	b.must(err)
	b.must(errors.Join(s.Fill(b.kv, 0, 8), s.Synchronize()))
	launched := func() uint64 {
		t.Helper()
		b.must(errors.Join(g.Launch(s), s.Synchronize()))
		return binary.LittleEndian.Uint64(b.read(b.kv, 8))
	}
	if got := binary.LittleEndian.Uint64(b.read(b.kv, 8)); got != 0 {
		t.Errorf("carried out while it was captured: %#x", got)
	}
	const want = 7<<32 | 7
	if got := launched(); got != want {
		t.Errorf("first launch: got %#x, want %#x", got, uint64(want))
	}
	b.Poison(0xA5)
	_, err = b.Park("m", All)
	b.must(err)
	_, err = b.Wake("m", All)
	b.must(err)
	if got := launched(); got != want {
		t.Errorf("after a wake: got %#x, want %#x", got, uint64(want))
	}
	b.must(g.Close())
}

// TestCapture_Fails: a capture that fails leaves the stream as it was.
func TestCapture_Fails(t *testing.T) {
	d, fake := testDevice(t)
	s := newStream(t, d)
	mine := errors.New("mine")
	if _, err := s.Capture(func() error { return mine }); !errors.Is(err, mine) {
		t.Errorf("got %v, want the error of what was captured", err)
	}
	for _, call := range []string{"cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "cuGraphDestroy"} {
		fake.Fail(call, 0, 999)
		if _, err := s.Capture(func() error { return nil }); err == nil || !strings.Contains(err.Error(), call) {
			t.Errorf("%s: got %v, want it named", call, err)
		}
	}
	if err := s.Synchronize(); err != nil {
		t.Error(err)
	}
}

func TestAllocate(t *testing.T) {
	d, fake := testDevice(t)
	before := fake.Used()
	at, err := d.Allocate(3 * mib)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Free(at); err != nil {
		t.Error(err)
	}
	if got := fake.Used(); got != before {
		t.Errorf("%d bytes are left", got-before)
	}
	fake.SetMemory(2 * mib)
	if _, err := d.Allocate(4 * mib); !errors.Is(err, ErrNoRoom) {
		t.Errorf("got %v, want ErrNoRoom", err)
	}
}

// TestSpaceAllocate: an engine of our own has the same memory as one that calls CUDA.
func TestSpaceAllocate(t *testing.T) {
	b := newBench(t)
	var at Addr
	b.in(Tag{"own", KV}, func() {
		var err error
		at, err = b.Allocate(100)
		b.must(err)
	})
	if got, want := b.Footprint("own")[KV], (Held{Mapped: page}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	_, err := b.Park("own", All)
	b.must(err)
	b.must(b.Free(at))
	if err := b.Free(at); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("freed twice: %v", err)
	}
	b.must(b.Forget("own"))
}
