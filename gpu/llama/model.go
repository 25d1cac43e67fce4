package llama

import (
	"fmt"
	"time"

	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/catenary-run/catenary/functions"
)

// batchTokens is how much of a prompt is decoded in one call into C. A cancelled call ends after it at the latest.
const batchTokens = 256

// Options of one model.
type Options struct {
	Context int // tokens; 0 takes what the model was trained for
	Threads int // 0 takes 1: on few or busy cores more threads wait for one another
}

// Residency says what a transition of a model moved and took.
type Residency struct {
	Bytes    int64         // read, or freed
	Took     time.Duration // wall clock
	MemBytes int64         // held afterwards: weights, keys and values
}

// Model is one file, awake or parked. One goroutine at a time may call its methods.
type Model struct {
	engine   *Engine
	path     string
	opt      Options // resolved
	template string

	model llama.Model // 0 while parked
	ctx   llama.Context
	vocab llama.Vocab
	held  int64 // bytes, while awake
}

// Load reads the GGUF file at path and returns it awake. It returns an error wrapping [functions.ErrInvalid] if the
// file is broken, is no chat model, or has no chat template that libllama knows.
func (e *Engine) Load(path string, opt Options) (*Model, Residency, error) {
	start := time.Now()
	h, err := Inspect(path)
	if err != nil {
		return nil, Residency{}, err
	}
	if !h.HasTemplate {
		return nil, Residency{}, fmt.Errorf("%w: the model has no chat template (tokenizer.chat_template); use a file that was made for chat", functions.ErrInvalid)
	}
	if opt.Context < 0 || opt.Threads < 0 {
		return nil, Residency{}, fmt.Errorf("%w: context %d, threads %d: neither may be negative", functions.ErrInvalid, opt.Context, opt.Threads)
	}
	if h.Context > 0 && opt.Context > h.Context {
		return nil, Residency{}, fmt.Errorf("%w: context %d is more than the %d tokens that the model was trained for", functions.ErrInvalid, opt.Context, h.Context)
	}
	opt.Threads = max(1, opt.Threads)
	m := &Model{engine: e, path: path, opt: opt}
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

	params := llama.ModelDefaultParams()
	params.NGpuLayers = 0
	if check {
		params.CheckTensors = 1
	}
	model, err := llama.ModelLoadFromFile(m.path, params)
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
	cp := llama.ContextDefaultParams()
	cp.NCtx, cp.NSeqMax = uint32(m.opt.Context), 1
	cp.NBatch, cp.NUbatch = batchTokens, batchTokens
	cp.NThreads, cp.NThreadsBatch = int32(m.opt.Threads), int32(m.opt.Threads)
	cp.NoPerf = 1
	m.ctx, err = llama.InitFromModel(model, cp)
	if err != nil {
		m.Close()
		return fmt.Errorf("%w: a context of %d tokens: %s", functions.ErrMemoryLimit, cp.NCtx, m.engine.reason(err))
	}
	m.held = int64(llama.ModelSize(model)) + m.cacheBytes()
	return nil
}

// cacheBytes is the size of the context's keys and values: two f16 numbers for each layer, token and key-value width.
func (m *Model) cacheBytes() int64 {
	heads := max(1, int64(llama.ModelNHead(m.model)))
	width := int64(llama.ModelNEmbd(m.model)) / heads * int64(llama.ModelNHeadKV(m.model))
	return 2 * 2 * int64(llama.ModelNLayer(m.model)) * int64(llama.NCtx(m.ctx)) * width
}

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
	if m.ctx != 0 {
		_ = llama.Free(m.ctx) // its only error is a null handle
	}
	if m.model != 0 {
		_ = llama.ModelFree(m.model)
	}
	m.ctx, m.model, m.vocab, m.held = 0, 0, 0, 0
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
