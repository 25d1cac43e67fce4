package cuda

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/cuda/cudatest"
	"github.com/catenary-run/catenary/gpu/llama"
	"github.com/catenary-run/catenary/internal/testkit"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestImportsOfTheEngine: what libggml-cuda.so takes from CUDA. A release that allocates in another way shows here: look
// at what is new before the golden file is updated.
func TestImportsOfTheEngine(t *testing.T) {
	file, err := elf.Open(filepath.Join(testkit.LlamaCUDALib(t), "libggml-cuda.so"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	symbols, err := file.ImportedSymbols()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range symbols {
		name := strings.TrimLeft(s.Name, "_")
		if !strings.HasPrefix(name, "cu") {
			continue
		}
		if s.Version != "" {
			s.Name += "@" + s.Version
		}
		got = append(got, s.Name)
	}
	slices.Sort(got)
	const golden = "testdata/imports.txt"
	text := strings.Join(got, "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("other imports (-want +got)\n%s", diff)
	}
}

func TestAttachRefuses(t *testing.T) {
	d, fake := testDevice(t)
	s, err := NewSpace(d)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name, path, want string) {
		t.Helper()
		if err := s.Attach(path); !errors.Is(err, functions.ErrNoDevice) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want ErrNoDevice with %q", name, err, want)
		}
	}
	refused("not loaded", filepath.Join(testkit.LlamaLib(t), "libggml-base.so"), "not loaded")
	refused("no engine", filepath.Join(fake.Dir, "libcudart.so.13"), "does not import cudaMalloc")
	all := map[string][]uintptr{"cudaMallocAsync": {1}, "cudaMallocHost": {1}}
	for _, name := range taken {
		all[name] = []uintptr{1}
	}
	if err := s.fits(d.driver.lib, all); err == nil || !strings.Contains(err.Error(), "imports cudaMallocAsync") {
		t.Errorf("an allocator that we don't know: got %v", err)
	}
	delete(all, "cudaMallocAsync")
	if err := s.fits(d.driver.lib, all); err != nil {
		t.Errorf("what we know: got %v", err)
	}
}

// TestEngine_ParkOneOfTwo: nothing is allocated past us, a parked model has nothing on the device, its neighbour does not
// notice, and after the wake it goes on where it was: same addresses, same bytes, same graphs.
func TestEngine_ParkOneOfTwo(t *testing.T) {
	if inProcess(t) {
		return
	}
	r := newRig(t, nil)
	parkOneOfTwo(r)
	if r.fake.Counted("products") == 0 {
		t.Error("cuBLAS was not used, so that nobody looked at its workspace")
	}
}

// TestEngine_FlashAttention is the same with other kernels, for which the heads must be 64 wide: the numbers make no sense
// then, which nobody computes here.
func TestEngine_FlashAttention(t *testing.T) {
	if inProcess(t) {
		return
	}
	master := tinyMaster(t)
	for key, value := range map[string]uint32{"llama.attention.head_count": 3, "llama.attention.head_count_kv": 3, "llama.rope.dimension_count": 64} {
		name := binary.LittleEndian.AppendUint64(nil, uint64(len(key)))
		at := bytes.Index(master.Bytes(), append(name, key...)) + len(name) + len(key) + 4 // after its type
		binary.LittleEndian.PutUint32(master.Bytes()[at:], value)
	}
	r := newRig(t, master)
	parkOneOfTwo(r)
	if n := r.fake.Counted("products"); n != 0 {
		t.Errorf("%d products: this is not flash attention", n)
	}
}

// parkOneOfTwo loads two models, and parks and wakes the first, many times.
func parkOneOfTwo(r *rig) {
	t := r.t
	t.Helper()
	if n := r.fake.Counted("registered_kernels"); n < 6000 {
		t.Fatalf("%d kernels: this is not the real engine", n)
	}
	a, b := r.load("a"), r.load("b")
	if got, want := int64(r.fake.Used()), held(r.Footprint("a"))+held(r.Footprint("b")); got != want {
		t.Errorf("%d bytes are in use, and the blocks explain %d", got, want)
	}
	var onDevice int
	for _, tensor := range a.Tensors() {
		if r.fake.State(tensor.At) == cudatest.Usable {
			onDevice++
		}
	}
	if onDevice != 47 || len(a.Tensors()) < 47 { // the 48th is the embedding, once more in host memory
		t.Errorf("%d of %d tensors are on the device, want 47", onDevice, len(a.Tensors()))
	}
	r.must(r.Verify("a"))
	r.clean()

	before, used := r.addresses("a"), int64(r.fake.Used())
	freed := a.park(All)
	if freed != held(r.Footprint("a")) || int64(r.fake.Used()) != used-freed {
		t.Errorf("freed %d bytes of %d, and the device has %d less", freed, held(r.Footprint("a")), used-int64(r.fake.Used()))
	}
	for _, at := range before {
		if !faults(at) {
			t.Errorf("%#x can be read while the model is parked", at)
		}
	}
	b.tokens(20)
	r.clean()

	if n := a.wake(All); n != freed {
		t.Errorf("woke %d bytes, and %d were parked", n, freed)
	}
	if diff := cmp.Diff(before, r.addresses("a")); diff != "" {
		t.Errorf("other addresses (-before +after)\n%s", diff)
	}
	launches := r.fake.Counted("graph_launches")
	for range 200 {
		a.park(All)
		a.wake(All)
		a.tokens(1)
	}
	if got := r.fake.Counted("graph_launches") - launches; got < 190 {
		t.Errorf("graphs were replayed %d times in 200 tokens", got)
	}
	r.clean()

	a.park(All)
	a.free() // while it is parked
	b.tokens(5)
	b.free()
	if n := r.fake.Used(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
	r.clean()
}

// faults reports whether reading an address is a fault.
func faults(at Addr) (fault bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { fault = recover() != nil }()
	atomic.LoadUint32(memory[uint32](uintptr(at)))
	return false
}

// TestEngine_MoreThanFits: two models on a device that has room for one and a half.
func TestEngine_MoreThanFits(t *testing.T) {
	if inProcess(t) {
		return
	}
	r := newRig(t, nil)
	a := r.load("a")
	one := held(r.Footprint("a"))
	r.fake.SetMemory(uint64(one + one/2))
	a.park(All)
	b := r.load("b")

	used := r.fake.Used()
	if _, err := r.Wake("a", All); !errors.Is(err, ErrNoRoom) {
		t.Errorf("without room: got %v, want ErrNoRoom", err)
	}
	if got := r.fake.Used(); got != used {
		t.Errorf("that took %d bytes", got-used)
	}
	r.must(r.Verify("b"))
	b.tokens(3)
	for range 20 {
		b.park(All)
		a.wake(All)
		a.tokens(2)
		a.park(All)
		b.wake(All)
		b.tokens(2)
	}
	r.clean()
	b.park(All)
	if n := a.wake(Weights); n != r.Footprint("a")[Weights].Mapped || n == one {
		t.Errorf("the weights alone are %d bytes", n)
	}
	if n := a.wake(Dropped); n != one-r.Footprint("a")[Weights].Mapped {
		t.Errorf("the rest is %d bytes", n)
	}
	a.tokens(3)

	// A context that does not fit is an error of the engine's, and disturbs nobody.
	leave, err := r.Enter(Tag{"big", KV})
	r.must(err)
	if _, _, err := r.engine.LoadBytes(r.master.Bytes(), llama.Options{DeviceLayers: llama.AllLayers, Slots: 60}); err == nil {
		t.Error("a model was loaded without room")
	}
	leave()
	r.must(r.Forget("big"))

	// Whoever needs room asks for it, and an idle model goes.
	var asked atomic.Int32
	r.OnPressure(func(need int64, by Tag) bool {
		asked.Add(1)
		n, err := r.Park("a", All)
		return err == nil && n > 0
	})
	c := r.load("c")
	if asked.Load() == 0 || !r.isParked("a") {
		t.Errorf("asked %d times", asked.Load())
	}
	c.tokens(3)
	r.clean()
	for _, m := range []*model{a, b, c} {
		m.free()
	}
	if n := r.fake.Used(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// TestEngine_OthersGoOn: two models decode on threads of their own while a third is parked and woken.
func TestEngine_OthersGoOn(t *testing.T) {
	if inProcess(t) {
		return
	}
	r := newRig(t, nil)
	a := r.load("a")
	var stop atomic.Bool
	var all sync.WaitGroup
	var tokens [2]atomic.Int32
	for i := range tokens {
		r.load(fmt.Sprint("other ", i))
	}
	r.crowded = true
	for i := range tokens {
		m := r.models[fmt.Sprint("other ", i)]
		all.Go(func() {
			for !stop.Load() {
				m.tokens(1)
				tokens[i].Add(1)
			}
		})
	}
	for cycles := 0; cycles < 40 || tokens[0].Load() < 100 || tokens[1].Load() < 100; cycles++ {
		a.park(All)
		a.wake(All)
		a.tokens(3)
	}
	stop.Store(true)
	all.Wait()
	for _, m := range r.models {
		r.must(r.Verify(m.name))
	}
	r.clean()
}

// TestEngine_SlotsAfterAWake: several conversations at once, whose keys and values are gone after a wake. Nothing of them is
// read again, and slots can be cleared.
func TestEngine_SlotsAfterAWake(t *testing.T) {
	if inProcess(t) {
		return
	}
	r := newRig(t, nil)
	m := &model{rig: r, name: "m"}
	var parts []Part
	m.in(KV, func() {
		var err error
		m.Model, _, err = r.engine.LoadBytes(r.master.Bytes(), llama.Options{DeviceLayers: llama.AllLayers, Slots: 3})
		r.must(err)
		for _, tensor := range m.Tensors() {
			parts = append(parts, Part{At: Addr(tensor.At), Bytes: tensor.Data})
		}
	})
	r.must(r.SetRecipe("m", parts))
	for range 3 {
		m.in(Scratch, func() {
			r.must(m.Reset())
			var all []*llama.Generation
			for slot := range 3 {
				g, err := m.Start(slot, functions.Generation{Messages: []functions.Message{{Role: "user", Content: "tell me a story"}}})
				r.must(err)
				if _, reused := g.Prompt(); reused != 0 {
					t.Errorf("slot %d has %d tokens from before", slot, reused)
				}
				all = append(all, g)
			}
			for range 5 {
				for _, g := range all {
					_, _, err := g.Next()
					r.must(err)
				}
			}
			for _, g := range all {
				g.End()
			}
			r.must(m.Clear(1))
			r.must(m.Synchronize())
		})
		m.park(All)
		m.wake(All)
	}
	r.clean()
}

// TestEngine_ChecksCanFail: what the other tests look for is seen when it happens.
func TestEngine_ChecksCanFail(t *testing.T) {
	if inProcess(t) {
		return
	}
	os.Setenv("FAKE_CUDA_QUIET", "1")
	r := newRig(t, nil)
	a := r.load("a")
	// The context has two blocks: the keys and values, which are the smaller, and the compute buffer, without which the
	// engine aborts.
	const keys = Kind(1 << 7)
	for _, at := range r.addresses("a") {
		if b := r.blocks[at]; b.tag.Kind == KV && b.size == page {
			b.tag.Kind = keys
		}
	}
	for _, kind := range []Kind{Weights, Scratch, keys} {
		a.park(kind)
		before := r.fake.Counted("bad_pointers")
		a.decode(2) // nobody entered
		if n := r.fake.Counted("bad_pointers") - before; n == 0 {
			t.Errorf("kind %d is parked, and no kernel noticed", kind)
		}
		a.wake(kind)
	}
	// What is read back without having been computed.
	a.park(All | keys)
	a.wake(All | keys)
	before, stream := r.fake.Counted("stale_reads"), newStream(t, r.device)
	for _, at := range r.addresses("a") {
		got := make([]byte, 64)
		r.must(errors.Join(stream.Read(got, at), stream.Synchronize()))
	}
	if n := r.fake.Counted("stale_reads") - before; n == 0 {
		t.Error("dropped memory was read, and nobody noticed")
	}
	// Weights that are not those of the master.
	for _, tensor := range a.Tensors() {
		if tensor.Name == "blk.0.attn_q.weight" {
			r.must(errors.Join(stream.Fill(Addr(tensor.At), 1, 16), stream.Synchronize()))
		}
	}
	if err := r.Verify("a"); !errors.Is(err, functions.ErrConflict) {
		t.Errorf("other weights: got %v, want ErrConflict", err)
	}
}

// TestEngine_ParkedAndUsed: to use a model that has no memory at all ends the process.
func TestEngine_ParkedAndUsed(t *testing.T) {
	if processDies(t, "CUDA error") {
		return
	}
	r := newRig(t, nil)
	a := r.load("a")
	a.park(All)
	a.decode(2)
}

// TestEngine_NoRoomInTheMiddle: what is allocated by the first call, and not at load, ends the process if there is no room
// and nobody makes some. That is why models are warmed up.
func TestEngine_NoRoomInTheMiddle(t *testing.T) {
	if processDies(t, "CUDA error") {
		return
	}
	r := newRig(t, nil)
	leave, err := r.Enter(Tag{"m", KV})
	r.must(err)
	m := &model{rig: r, name: "m"}
	m.Model, _, err = r.engine.LoadBytes(r.master.Bytes(), llama.Options{DeviceLayers: llama.AllLayers})
	r.must(err)
	leave()
	r.fake.SetMemory(r.fake.Used())
	m.tokens(1)
}

func TestEngine_LostDevice(t *testing.T) {
	if processDies(t, "CUDA error") {
		return
	}
	r := newRig(t, nil)
	a := r.load("a")
	r.fake.Lose(cudatest.DeviceUnavailable)
	if _, err := r.Park("a", All); err == nil {
		t.Fatal("parked on a device that is gone")
	}
	a.decode(2)
}

// TestEngine_WakeThatFails: the model stays parked, others go on, and the next wake is as good as any.
func TestEngine_WakeThatFails(t *testing.T) {
	if inProcess(t) {
		return
	}
	r := newRig(t, nil)
	a, b := r.load("a"), r.load("b")
	for _, call := range []string{"cuMemCreate", "cuMemMap", "cuMemSetAccess", "cuMemcpyHtoDAsync", "cuStreamSynchronize"} {
		a.park(All)
		used := r.fake.Used()
		r.fake.Fail(call, 0, 999)
		if _, err := r.Wake("a", All); err == nil || !strings.Contains(err.Error(), call) {
			t.Errorf("%s: got %v", call, err)
		}
		if got := r.fake.Used(); got != used || !r.isParked("a") {
			t.Errorf("%s: %d bytes are left behind", call, got-used)
		}
		b.tokens(2)
		a.wake(All)
		a.tokens(2)
	}
	r.fake.Fail("cuMemUnmap", 2, 999)
	if _, err := r.Park("a", All); err == nil {
		t.Error("parked though a mapping stayed")
	}
	r.must(r.Verify("a"))
	a.tokens(2)
	r.clean()
}

// TestEngine_WithoutDriver: the same build of the engine works on the CPU where there is no CUDA.
func TestEngine_WithoutDriver(t *testing.T) {
	if inProcess(t) {
		return
	}
	engine, err := llama.Open(llama.Config{LibDir: testkit.LlamaCUDALib(t), LinkDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := engine.LoadBytes(tinyMaster(t).Bytes(), llama.Options{DeviceLayers: llama.AllLayers})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	g, err := m.Start(0, functions.Generation{Messages: []functions.Message{{Role: "user", Content: "what is the capital of france"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.End()
	text := ""
	for {
		token, _, err := g.Next()
		if err != nil {
			t.Fatal(err)
		}
		if text += token.Text; token.Finish != "" {
			break
		}
	}
	if !strings.Contains(text, "Paris") {
		t.Errorf("got %q", text)
	}
}

// TestEngine_ManagedMemory: an engine that is set up to use it is served, and not parked.
func TestEngine_ManagedMemory(t *testing.T) {
	if inProcess(t) {
		return
	}
	os.Setenv("GGML_CUDA_ENABLE_UNIFIED_MEMORY", "1")
	r := newRig(t, nil)
	leave, err := r.Enter(Tag{"m", KV})
	r.must(err)
	m := &model{rig: r, name: "m"}
	m.Model, _, err = r.engine.LoadBytes(r.master.Bytes(), llama.Options{DeviceLayers: llama.AllLayers})
	r.must(err)
	leave()
	m.tokens(3)
	if _, err := r.Park("m", All); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), "managed memory") {
		t.Errorf("got %v, want ErrInvalid with the reason", err)
	}
	m.tokens(3)
}
