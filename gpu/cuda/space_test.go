package cuda

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/cuda/cudatest"
)

const page = 2 * mib // the fake's granularity

// bench is a space with the calls that an engine makes, and one model's worth of memory.
type bench struct {
	*Space
	t    *testing.T
	fake *cudatest.Fake

	weights, kv, pool Addr
	pooled            int64 // bytes of the pool's range
	master            []byte
}

func newBench(t *testing.T) *bench {
	t.Helper()
	d, fake := testDevice(t)
	fake.SetStale(0xEE)
	s, err := NewSpace(d)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Space: s, t: t, fake: fake}
	t.Cleanup(func() {
		for at := range s.blocks {
			if s.blocks[at].engine {
				b.must(s.unmapFor(at, s.blocks[at].size))
			} else {
				_, err := s.free(at)
				b.must(err)
			}
		}
		if b.pooled > 0 {
			b.must(d.Unreserve(b.pool, b.pooled))
		}
		fake.SetStale(-1)
	})
	return b
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// in does something as an engine's thread.
func (b *bench) in(tag Tag, f func()) {
	b.t.Helper()
	leave, err := b.Enter(tag)
	b.must(err)
	defer leave()
	f()
}

func (b *bench) malloc(tag Tag, size int64) (at Addr) {
	b.t.Helper()
	b.in(tag, func() {
		var err error
		at, err = b.allocate(size)
		b.must(err)
	})
	return at
}

// load allocates as llama.cpp does: weights and keys by cudaMalloc, a pool by the engine's own mappings, in two steps. The
// weights are two tensors with a gap between them.
func (b *bench) load(model string) {
	b.t.Helper()
	b.weights, b.kv = b.malloc(Tag{model, Weights}, page+100), b.malloc(Tag{model, KV}, 100)
	b.in(Tag{model, KV}, func() {
		var err error
		b.pooled = 4 * page
		b.pool, err = b.device.Reserve(b.pooled)
		b.must(err)
		for i := range Addr(2) {
			p, err := b.createFor(page, b.device.properties())
			b.must(err)
			b.must(b.mapFor(b.pool+i*page, page, 0, p))
			b.must(b.releaseFor(p))
			b.must(b.accessFor(b.pool+i*page, page, []access{b.device.access()}))
		}
	})
	b.master = bytes.Repeat([]byte("0123456789abcdef"), page/16)
	b.must(b.SetRecipe(model, []Part{{b.weights + 256, b.master[1000:]}, {b.weights, b.master[:200]}, {0x1000, b.master}}))
}

// read returns device memory.
func (b *bench) read(at Addr, n int) []byte {
	b.t.Helper()
	got, stream := make([]byte, n), newStream(b.t, b.device)
	b.must(errors.Join(stream.Read(got, at), stream.Synchronize()))
	return got
}

// wantAwake checks every byte of the weights, and that the rest can be touched.
func (b *bench) wantAwake(model string) {
	b.t.Helper()
	b.must(b.Verify(model))
	want := make([]byte, 2*page)
	copy(want, b.master[:200])
	copy(want[256:], b.master[1000:])
	if !bytes.Equal(b.read(b.weights, len(want)), want) {
		b.t.Error("the weights are not what the recipe says, with zeros between")
	}
	for _, at := range []Addr{b.weights, b.kv, b.pool, b.pool + page} {
		if got := b.fake.State(uintptr(at)); got != cudatest.Usable {
			b.t.Errorf("%#x has state %d", at, got)
		}
	}
}

// wantParked checks that the model has no memory, and one may not use it.
func (b *bench) wantParked(model string) {
	b.t.Helper()
	for _, at := range []Addr{b.weights, b.kv, b.pool, b.pool + page} {
		if got := b.fake.State(uintptr(at)); got != cudatest.Gone {
			b.t.Errorf("%#x has state %d", at, got)
		}
	}
	if _, err := b.Enter(Tag{model, Scratch}); !errors.Is(err, functions.ErrConflict) {
		b.t.Errorf("a parked model is entered: %v", err)
	}
}

// wake brings the model back and fails the test unless that moved so many pages.
func (b *bench) wake(model string, kinds Kind, pages int64) {
	b.t.Helper()
	n, err := b.Wake(model, kinds)
	b.must(err)
	if n != pages*page {
		b.t.Errorf("woke %d bytes, want %d pages", n, pages)
	}
}

func (b *bench) park(model string, kinds Kind, pages int64) {
	b.t.Helper()
	n, err := b.Park(model, kinds)
	b.must(err)
	if n != pages*page {
		b.t.Errorf("parked %d bytes, want %d pages", n, pages)
	}
}

func TestParkAndWake(t *testing.T) {
	b := newBench(t)
	b.load("m")
	want := map[Kind]Held{Weights: {Mapped: 2 * page}, KV: {Mapped: page}, Scratch: {Mapped: 2 * page}}
	if diff := cmp.Diff(want, b.Footprint("m")); diff != "" {
		t.Errorf("footprint (-want +got)\n%s", diff)
	}
	b.must(b.Parkable("m"))
	b.wake("m", All, 0) // nothing to do
	for range 3 {
		used := b.fake.Used()
		b.park("m", All, 5)
		b.wantParked("m")
		if got := used - b.fake.Used(); got != 5*page {
			t.Errorf("the device has %d bytes more", got)
		}
		b.park("m", All, 0)
		b.wake("m", All, 5)
		b.wantAwake("m")
	}
	b.park("m", All, 5)
	b.wake("m", Weights, 2)
	want = map[Kind]Held{Weights: {Mapped: 2 * page}, KV: {Parked: page}, Scratch: {Parked: 2 * page}}
	if diff := cmp.Diff(want, b.Footprint("m")); diff != "" {
		t.Errorf("weights only (-want +got)\n%s", diff)
	}
	if _, err := b.Enter(Tag{"m", Scratch}); !errors.Is(err, functions.ErrConflict) {
		t.Errorf("half a model is entered: %v", err)
	}
	b.wake("m", Dropped, 3)
	b.wantAwake("m")
}

func TestPoisonFillsWhatIsDropped(t *testing.T) {
	b := newBench(t)
	b.load("m")
	b.Poison(0xA5)
	b.park("m", All, 5)
	b.wake("m", All, 5)
	b.wantAwake("m")
	for _, at := range []Addr{b.kv, b.pool, b.pool + page} {
		if got := b.read(at, page); !bytes.Equal(got, bytes.Repeat([]byte{0xA5}, page)) {
			t.Errorf("%#x begins with %x", at, got[:8])
		}
	}
}

func TestWakeWithoutRoomChangesNothing(t *testing.T) {
	b := newBench(t)
	b.load("m")
	b.park("m", All, 5)
	used := b.fake.Used()
	b.fake.SetMemory(used + 4*page)
	if _, err := b.Wake("m", All); !errors.Is(err, ErrNoRoom) {
		t.Errorf("got %v, want ErrNoRoom", err)
	}
	b.wantParked("m")
	if got := b.fake.Used(); got != used {
		t.Errorf("%d bytes are left behind", got-used)
	}
	b.fake.SetMemory(used + 5*page)
	b.wake("m", All, 5)
	b.wantAwake("m")
}

// TestMoveThatFails: whatever call fails on the way, the model stays what it was, and no memory is lost.
func TestMoveThatFails(t *testing.T) {
	b := newBench(t)
	b.load("m")
	for _, call := range []string{"cuMemCreate", "cuMemMap", "cuMemSetAccess", "cuStreamCreate", "cuMemcpyHtoDAsync", "cuMemsetD8Async", "cuStreamSynchronize"} {
		b.park("m", All, 5)
		used := b.fake.Used()
		for after := range int32(4) {
			if after > 0 && strings.HasPrefix(call, "cuStream") || after > 1 && strings.HasSuffix(call, "Async") {
				break
			}
			b.fake.Fail(call, after, 999)
			_, err := b.Wake("m", All)
			var failed *Error
			if !errors.As(err, &failed) || failed.Call != call {
				t.Errorf("%s %d: got %v", call, after, err)
			}
			b.wantParked("m")
			if got := b.fake.Used(); got != used {
				t.Errorf("%s %d: %d bytes are left behind", call, after, got-used)
			}
		}
		b.wake("m", All, 5)
		b.wantAwake("m")
	}
	for after := range int32(4) { // one for each block
		before := b.read(b.kv, page)
		b.fake.Fail("cuMemUnmap", after, 999)
		if _, err := b.Park("m", All); err == nil {
			t.Errorf("unmap %d: parked all the same", after)
		}
		b.wantAwake("m")
		if !bytes.Equal(before, b.read(b.kv, page)) {
			t.Errorf("unmap %d: the keys are others", after)
		}
	}
	b.park("m", All, 5)
}

func TestWhatCanNotBeParked(t *testing.T) {
	b := newBench(t)
	refused := func(name, want string) {
		t.Helper()
		_, err := b.Park("m", All)
		if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want ErrInvalid with %q", name, err, want)
		}
	}
	refused("unknown", "no memory")
	b.load("m")
	b.must(b.SetRecipe("m", nil))
	refused("no recipe", "where its weights come from")
	b.must(b.SetRecipe("m", []Part{{b.weights, b.master}}))

	leave, err := b.Enter(Tag{"m", Scratch})
	b.must(err)
	if _, err := b.Park("m", All); !errors.Is(err, functions.ErrConflict) {
		t.Errorf("in use: got %v, want ErrConflict", err)
	}
	var p Physical
	p, err = b.createFor(page, b.device.properties())
	b.must(err)
	b.must(b.mapFor(b.pool+2*page, page, 0, p))
	leave()
	refused("the engine holds a handle", "holds on")
	b.must(b.releaseFor(p))
	b.must(b.Parkable("m"))

	b.malloc(Tag{}, 10)
	a, err := b.Account()
	b.must(err)
	if err := a.Check("m", 0); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), "thread") {
		t.Errorf("memory without a tag: got %v", err)
	}
	refused("memory without a tag", "thread")
}

func TestRecipesThatMakeNoSense(t *testing.T) {
	b := newBench(t)
	b.load("m")
	for name, parts := range map[string][]Part{
		"overlap":             {{b.weights, b.master[:100]}, {b.weights + 99, b.master[:100]}},
		"over the end":        {{b.weights + 2*page - 10, b.master[:100]}},
		"from before a block": {{b.weights - 10, b.master[:100]}},
	} {
		if err := b.SetRecipe("m", parts); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	b.park("m", All, 5) // the recipe that was good is still there
}

func TestAccountSeesWhatWentPastUs(t *testing.T) {
	b := newBench(t)
	a, err := b.Account()
	b.must(err)
	b.load("m")
	b.must(a.Check("m", 0))
	mapped(t, b.device, page) // as an engine that is not ours
	if n, err := a.Missing(); n != page || err != nil {
		t.Errorf("%d bytes are missing, %v", n, err)
	}
	b.must(a.Check("m", page))
	if err := a.Check("m", page-1); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
	if _, err := b.Park("m", All); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), "went past us") {
		t.Errorf("got %v, want ErrInvalid with the reason", err)
	}
}

// TestParkBeforeTheWorkIsDone: that the caller synchronizes first is not a formality.
func TestParkBeforeTheWorkIsDone(t *testing.T) {
	if inProcess(t) {
		return
	}
	d, _ := openDevice(t)
	s, err := NewSpace(d)
	if err != nil {
		t.Fatal(err)
	}
	leave, err := s.Enter(Tag{"m", KV})
	if err != nil {
		t.Fatal(err)
	}
	at, err := s.allocate(page)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Fill(at, 1, page); err != nil {
		t.Fatal(err)
	}
	leave()
	if _, err := s.Park("m", All); err != nil {
		t.Fatal(err)
	}
	if err := stream.Synchronize(); err == nil || !strings.Contains(err.Error(), "CUDA_ERROR_ILLEGAL_ADDRESS") {
		t.Errorf("got %v, want that the memory is gone", err)
	}
}

// TestFreeWhileParked: an engine may free what has no memory.
func TestFreeWhileParked(t *testing.T) {
	b := newBench(t)
	b.load("m")
	if err := b.Forget("m"); !errors.Is(err, functions.ErrConflict) {
		t.Errorf("forgotten too early: %v", err)
	}
	b.park("m", All, 5)
	for _, at := range []Addr{b.weights, b.kv} {
		known, err := b.free(at)
		if b.must(err); !known {
			t.Errorf("%#x is unknown", at)
		}
	}
	b.must(b.unmapFor(b.pool, b.pooled)) // the whole range at once
	b.must(b.Forget("m"))
	if known, _ := b.free(b.kv); known {
		t.Error("freed twice")
	}
	if got := b.Footprint("m"); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

// TestUnmapOfWhatIsHalfParked: one call of the engine may reach over mappings with and without memory.
func TestUnmapOfWhatIsHalfParked(t *testing.T) {
	b := newBench(t)
	b.load("m")
	b.park("m", Scratch, 2)
	used := b.fake.Used()
	b.wake("m", Scratch, 2)
	b.must(b.unmapFor(b.pool, page))
	b.park("m", Scratch, 1)
	b.must(b.unmapFor(b.pool, b.pooled))
	if got := b.fake.Used(); got != used {
		t.Errorf("%d bytes, want %d", got, used)
	}
}

// TestPressure: an allocation that finds no room asks, and is tried again while that helps.
func TestPressure(t *testing.T) {
	b := newBench(t)
	b.load("idle")
	b.fake.SetMemory(b.fake.Used() + page)
	var asked []Tag
	b.OnPressure(func(need int64, by Tag) bool {
		asked = append(asked, by)
		n, err := b.Park("idle", All)
		return err == nil && n >= need
	})
	b.malloc(Tag{"new", KV}, 3*page)
	b.wantParked("idle")
	b.in(Tag{"new", Scratch}, func() {
		if _, err := b.allocate(4 * page); !errors.Is(err, ErrNoRoom) {
			t.Errorf("nobody else can be parked: got %v, want ErrNoRoom", err)
		}
	})
	if want := []Tag{{"new", KV}, {"new", Scratch}}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
}

func TestTagsNest(t *testing.T) {
	b := newBench(t)
	b.in(Tag{"m", Weights}, func() {
		b.malloc(Tag{"m", KV}, 1)
		at, err := b.allocate(1)
		b.must(err)
		if got := b.blocks[at].tag; got != (Tag{"m", Weights}) {
			t.Errorf("got %v", got)
		}
	})
	at, err := b.allocate(1)
	b.must(err)
	if got := b.blocks[at].tag; got != (Tag{}) {
		t.Errorf("outside: got %v", got)
	}
}

// TestManyAtOnce: one model is parked and woken while others allocate, free and are parked themselves.
func TestManyAtOnce(t *testing.T) {
	b := newBench(t)
	b.load("m")
	var all sync.WaitGroup
	for i := range 4 {
		name := string(rune('a' + i))
		all.Go(func() {
			for range 50 {
				leave, err := b.Enter(Tag{name, KV})
				if err != nil {
					t.Error(err)
					return
				}
				at, err := b.allocate(3 * page)
				leave()
				if err != nil {
					t.Error(err)
					return
				}
				if n, err := b.Park(name, All); n != 4*page && n != 3*page || err != nil {
					t.Errorf("parked %d, %v", n, err)
				}
				if _, err := b.Wake(name, All); err != nil {
					t.Error(err)
				}
				if known, err := b.free(at); !known || err != nil {
					t.Error(known, err)
				}
			}
		})
	}
	for range 50 {
		b.park("m", All, 5)
		b.wake("m", All, 5)
		b.must(b.Verify("m"))
	}
	all.Wait()
	b.wantAwake("m")
}
