package llama

import (
	"fmt"
	"time"

	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/catenary-run/catenary/functions"
)

// batchTokens is how much of a prompt is decoded in one call into C. A cancelled call ends after it at the latest.
const batchTokens = 256

// MaxSlots bounds the slots of one model. With the spare one they stay far below the 256 sequences that libllama knows.
const MaxSlots = 64

// Options of one model.
type Options struct {
	Context int // tokens of each slot; 0 takes what the model was trained for
	Threads int // 0 takes 1: on few or busy cores more threads wait for one another
	// Slots is how many generations may be under way, MaxSlots at most. 0 takes 1.
	Slots int
	// CacheBytes bounds the keys and values of all slots: where they need more there are fewer slots, but always one. 0
	// is no bound.
	CacheBytes int64
	// DeviceLayers is how many layers, of the last ones, go to a device that the library found. AllLayers stands for all; 0
	// leaves the model to the CPU.
	DeviceLayers int
}

// AllLayers is more layers than any model has.
const AllLayers = 1 << 16

// Residency says what a transition of a model moved and took.
type Residency struct {
	Bytes    int64         // read, or freed
	Took     time.Duration // wall clock
	MemBytes int64         // held afterwards: weights, keys and values
}

// Model is one file, awake or parked. It has slots: places for one conversation each, that share the weights and nothing
// else. One goroutine at a time may call its methods and those of its generations.
type Model struct {
	engine   *Engine
	path     string  // of its file
	file     []byte  // instead of a path: the file itself
	opt      Options // resolved
	template string

	model  llama.Model // 0 while parked
	ctx    llama.Context
	memory llama.Memory // of ctx: the keys and values of all slots
	batch  llama.Batch
	vocab  llama.Vocab
	seqs   []sequence // one for each slot
	prefix prefix
	held   int64 // bytes, while awake

	tensors []Tensor // of a model that was built from memory
}

// Load reads the GGUF file at path and returns it awake. It returns an error wrapping [functions.ErrInvalid] if the
// file is broken, is no chat model, or has no chat template that libllama knows.
func (e *Engine) Load(path string, opt Options) (*Model, Residency, error) {
	start := time.Now()
	h, err := Inspect(path)
	if err != nil {
		return nil, Residency{}, err
	}
	return e.load(&Model{engine: e, path: path, opt: opt}, h, start)
}

// load brings a model that has a source and its options into memory.
func (e *Engine) load(m *Model, h Header, start time.Time) (*Model, Residency, error) {
	opt := m.opt
	if !h.HasTemplate {
		return nil, Residency{}, fmt.Errorf("%w: the model has no chat template (tokenizer.chat_template); use a file that was made for chat", functions.ErrInvalid)
	}
	if opt.Context < 0 || opt.Threads < 0 || opt.Slots < 0 || opt.Slots > MaxSlots || opt.CacheBytes < 0 || opt.DeviceLayers < 0 || opt.DeviceLayers > AllLayers {
		return nil, Residency{}, fmt.Errorf("%w: context %d, threads %d, slots %d, cache %d bytes, %d layers on a device: none may be negative, and %d slots and %d layers are the most",
			functions.ErrInvalid, opt.Context, opt.Threads, opt.Slots, opt.CacheBytes, opt.DeviceLayers, MaxSlots, AllLayers)
	}
	if h.Context > 0 && opt.Context > h.Context {
		return nil, Residency{}, fmt.Errorf("%w: context %d is more than the %d tokens that the model was trained for", functions.ErrInvalid, opt.Context, h.Context)
	}
	m.opt.Threads, m.opt.Slots = max(1, opt.Threads), max(1, opt.Slots)
	if err := m.open(true); err != nil {
		return nil, Residency{}, err
	}
	if err := m.checkTemplate(); err != nil {
		m.Close()
		return nil, Residency{}, err
	}
	return m, m.residency(m.held, start), nil
}

// open brings the weights and a fresh context into memory. With check it also looks at every tensor's data.
func (m *Model) open(check bool) error {
	m.engine.loading.Lock()
	defer m.engine.loading.Unlock()
	m.engine.log.take()

	model, err := m.read(check)
	if err != nil {
		return fmt.Errorf("%w: libllama can't read the model: %s", functions.ErrInvalid, m.engine.reason(err))
	}
	m.model, m.vocab = model, llama.ModelGetVocab(model)
	if llama.ModelHasEncoder(model) || !llama.ModelHasDecoder(model) {
		m.Close()
		return fmt.Errorf("%w: the model (%s) does not generate text", functions.ErrInvalid, llama.ModelDesc(model))
	}
	if m.opt.Context == 0 {
		m.opt.Context = int(llama.ModelNCtxTrain(model))
	}
	m.opt.Slots = m.slotsWithin(m.opt.CacheBytes)
	sequences := m.opt.Slots
	if sequences > 1 {
		sequences += 2 // the spare one that slots are wiped with, and that of the prefix
	}
	cp := llama.ContextDefaultParams()
	// Not unified: each sequence has its own buffer, whole and apart, and its numbers are the same whoever is beside it.
	cp.NCtx, cp.NSeqMax, cp.KVUnified = uint32(m.opt.Context*sequences), uint32(sequences), 0
	cp.NBatch, cp.NUbatch = batchTokens, batchTokens
	cp.NThreads, cp.NThreadsBatch = int32(m.opt.Threads), int32(m.opt.Threads)
	cp.NoPerf = 1
	m.ctx, err = llama.InitFromModel(model, cp)
	if err == nil {
		m.memory, err = llama.GetMemory(m.ctx)
	}
	if err != nil {
		m.Close()
		return fmt.Errorf("%w: a context of %d tokens in %d slots: %s", functions.ErrMemoryLimit, m.opt.Context, m.opt.Slots, m.engine.reason(err))
	}
	m.batch = llama.BatchInit(batchTokens, 0, 1)
	m.seqs = make([]sequence, m.opt.Slots)
	m.held = m.weightBytes() + int64(llama.NCtx(m.ctx))*m.tokenBytes()
	return nil
}

// slotsWithin is how many slots, of those asked for, the bound allows, and one at least.
func (m *Model) slotsWithin(bound int64) int {
	const step = 256 // libllama rounds the length of a sequence up to it
	each := (int64(m.opt.Context) + step - 1) / step * step * m.tokenBytes()
	if bound == 0 || each == 0 {
		return m.opt.Slots
	}
	return int(max(1, min(int64(m.opt.Slots), bound/each-2))) // one is spare, and one is for the prefix
}

// tokenBytes is the size of one token's keys and values: two f16 numbers for each layer and key-value width.
func (m *Model) tokenBytes() int64 {
	heads := max(1, int64(llama.ModelNHead(m.model)))
	width := int64(llama.ModelNEmbd(m.model)) / heads * int64(llama.ModelNHeadKV(m.model))
	return 2 * 2 * int64(llama.ModelNLayer(m.model)) * width
}

// weightBytes is the size of all tensors. The library counts only those that it read from a file.
func (m *Model) weightBytes() int64 {
	n := int64(llama.ModelSize(m.model))
	for _, t := range m.tensors {
		n += int64(len(t.Data))
	}
	return n
}

// Slots is how many generations may be under way. It does not change while the model is awake.
func (m *Model) Slots() int { return m.opt.Slots }

// Park frees the memory of the model. It does nothing to a parked one.
func (m *Model) Park() Residency {
	start, freed := time.Now(), m.held
	m.Close()
	return m.residency(freed, start)
}

// Wake brings a parked model back. It does nothing to one that is awake.
func (m *Model) Wake() (Residency, error) {
	start := time.Now()
	if m.Awake() {
		return m.residency(0, start), nil
	}
	if err := m.open(false); err != nil {
		return Residency{}, err
	}
	return m.residency(m.held, start), nil
}

// Awake reports whether the model can generate.
func (m *Model) Awake() bool { return m.model != 0 }

// Close frees the model. It may be called more than once.
func (m *Model) Close() {
	if m.batch.Token != nil {
		_ = llama.BatchFree(m.batch) // it has no error
	}
	if m.ctx != 0 {
		_ = llama.Free(m.ctx) // its only error is a null handle
	}
	if m.model != 0 {
		_ = llama.ModelFree(m.model)
	}
	*m = Model{engine: m.engine, path: m.path, file: m.file, opt: m.opt, template: m.template}
}

func (m *Model) residency(moved int64, start time.Time) Residency {
	return Residency{Bytes: moved, Took: time.Since(start), MemBytes: m.held}
}

// reason is what the library logged, or err where it logged nothing.
func (e *Engine) reason(err error) string {
	if s := e.log.take(); s != "" {
		return s
	}
	return err.Error()
}
