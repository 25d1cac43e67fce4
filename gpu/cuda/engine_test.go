package cuda

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/cuda/cudatest"
	"github.com/catenary-run/catenary/gpu/llama"
	"github.com/catenary-run/catenary/internal/testkit"
)

// stale is what the device's fresh memory is full of, so that whatever reads it is noticed.
const stale = 0xEE

// rig is the real engine on the fake device, with a space between them. A process has one: tests with a rig run each in a
// process of their own.
type rig struct {
	*Space
	t      *testing.T
	fake   *cudatest.Fake
	engine *llama.Engine
	master *Master // the model's file
	models map[string]*model

	crowded bool // several models decode at once: whose graphs are captured can't be told apart
}

// model is one that is loaded, with an answer under way.
type model struct {
	rig  *rig
	name string
	*llama.Model
	answer *llama.Generation // nil between two
	turns  int               // that it has had
}

// settled is how many turns of an answer it takes until the engine has captured its graph.
const settled = 4

// newRig opens the engine. Without a master it makes one.
func newRig(t *testing.T, master *Master) *rig {
	t.Helper()
	d, fake := openDevice(t)
	r := &rig{t: t, fake: fake, master: master, models: map[string]*model{}}
	fake.SetStale(stale)
	fake.SetCapability(8, 6) // its workspaces are small
	var err error
	lib := testkit.LlamaCUDALib(t)
	r.engine, err = llama.Open(llama.Config{LibDir: lib, LinkDir: t.TempDir()})
	r.must(err)
	r.Space, err = NewSpace(d)
	r.must(err)
	r.must(r.Attach(filepath.Join(lib, "libggml-cuda.so")))
	if r.master == nil {
		r.master = tinyMaster(t)
	}
	r.must(r.master.Pin(d))
	return r
}

// tinyMaster has the file of a small model, and zeros after it.
func tinyMaster(t *testing.T) *Master {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(testkit.Root(t), "examples", "voice", "model", "tiny-q8.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMaster("tiny", int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	copy(m.Bytes(), file)
	return m
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// clean fails the test unless nothing has gone wrong on the device so far.
func (r *rig) clean() {
	r.t.Helper()
	for _, counter := range []string{"bad_pointers", "stale_reads", "raw_allocations"} {
		if n := r.fake.Counted(counter); n != 0 {
			r.t.Fatalf("%s: %d", counter, n)
		}
	}
}

// load builds a model from the master and warms it up, so that all that it will ever need is there and counted.
func (r *rig) load(name string) *model {
	r.t.Helper()
	account, err := r.Account()
	r.must(err)
	m := &model{rig: r, name: name}
	m.in(KV, func() {
		m.Model, _, err = r.engine.LoadBytes(r.master.Bytes(), llama.Options{DeviceLayers: llama.AllLayers, Context: 256})
		r.must(err)
	})
	var parts []Part
	for _, tensor := range m.Tensors() {
		parts = append(parts, Part{At: Addr(tensor.At), Bytes: tensor.Data})
	}
	r.must(r.SetRecipe(name, parts))
	m.tokens(4)
	r.must(account.Check(name, 0))
	r.models[name] = m
	return m
}

// in makes a call into the engine.
func (m *model) in(kind Kind, f func()) {
	m.rig.t.Helper()
	leave, err := m.rig.Enter(Tag{m.name, kind})
	m.rig.must(err)
	defer leave()
	f()
}

// tokens decodes so many tokens, in one answer after the other.
func (m *model) tokens(n int) {
	m.rig.t.Helper()
	m.in(Scratch, func() { m.decode(n) })
}

// decode is tokens without the space's knowledge.
func (m *model) decode(n int) {
	m.rig.t.Helper()
	for range n {
		if m.answer == nil {
			var err error
			m.answer, err = m.Start(0, functions.Generation{Messages: []functions.Message{{Role: "user", Content: "hello"}}})
			m.rig.must(err)
			m.turns = 0
		}
		captures := m.rig.fake.Counted("captures")
		results, err := m.Step([]*llama.Generation{m.answer})
		m.rig.must(err)
		token := results[0].Token
		if n := m.rig.fake.Counted("captures"); m.turns >= settled && n != captures && !m.rig.crowded {
			m.rig.t.Fatal("a graph was captured anew")
		}
		m.turns++
		if token.Finish != "" {
			m.answer.End()
			m.answer = nil
			m.rig.must(m.Clear(0))
		}
	}
	m.rig.must(m.Synchronize())
}

// free ends a model, awake or parked, and checks that nothing of it is left.
func (m *model) free() {
	m.rig.t.Helper()
	if m.answer != nil {
		m.answer.End()
	}
	m.Close()
	m.rig.must(m.rig.Forget(m.name))
	delete(m.rig.models, m.name)
}

// park returns how many bytes that freed.
func (m *model) park(kinds Kind) int64 {
	m.rig.t.Helper()
	n, err := m.rig.Park(m.name, kinds)
	m.rig.must(err)
	return n
}

// wake also checks every byte of the weights.
func (m *model) wake(kinds Kind) int64 {
	m.rig.t.Helper()
	n, err := m.rig.Wake(m.name, kinds)
	m.rig.must(err)
	if !m.rig.isParked(m.name) {
		m.rig.must(m.rig.Verify(m.name))
	}
	return n
}

func (s *Space) isParked(model string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parked(model)
}

// addresses are those of a model's blocks.
func (s *Space) addresses(model string) []Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Addr
	for _, at := range slices.Sorted(maps.Keys(s.blocks)) {
		if s.blocks[at].tag.Model == model {
			all = append(all, at)
		}
	}
	return all
}

func held(f map[Kind]Held) (n int64) {
	for _, h := range f {
		n += h.Mapped + h.Parked
	}
	return n
}
