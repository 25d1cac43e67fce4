package worker

import (
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/llama"
)

// Engine reads model files. It may be used from many goroutines.
type Engine interface {
	// Version names the engine's own version.
	Version() string
	// Load reads the file at path and returns the model awake.
	Load(path string, opt llama.Options) (Model, llama.Residency, error)
}

// Model is one file that an engine holds. One goroutine at a time calls its methods and those of its generations.
type Model interface {
	// Slots is how many generations may be under way.
	Slots() int
	// Start begins an answer in a slot, and reuses what was read there before.
	Start(slot int, req functions.Generation) (Generation, error)
	// Step decodes for several generations at once, a token or a part of a prompt for each. After an error what their slots
	// hold is not known.
	Step(gens []Generation) ([]llama.Result, error)
	// Clear forgets what was read in a slot. It is called after each generation whose slot nobody keeps, or that failed.
	Clear(slot int) error
	// Park frees the device's memory; Wake brings the model back. Each does nothing if it is done already.
	Park() llama.Residency
	Wake() (llama.Residency, error)
	Close()
}

// Generation is one answer under way.
type Generation interface {
	// Prompt returns how many tokens the prompt has, and how many of them the slot had read before.
	Prompt() (tokens, reused int)
	End()
}

// llamaEngine makes an Engine of package llama's: only the types of what its methods return differ.
type llamaEngine struct{ *llama.Engine }

func (e llamaEngine) Load(path string, opt llama.Options) (Model, llama.Residency, error) {
	m, r, err := e.Engine.Load(path, opt)
	if err != nil {
		return nil, r, err // not a nil *llama.Model in an interface
	}
	return llamaModel{m}, r, nil
}

type llamaModel struct{ *llama.Model }

func (m llamaModel) Start(slot int, req functions.Generation) (Generation, error) {
	g, err := m.Model.Start(slot, req)
	if err != nil {
		return nil, err
	}
	return g, nil
}

func (m llamaModel) Step(gens []Generation) ([]llama.Result, error) {
	own := make([]*llama.Generation, len(gens))
	for i, g := range gens {
		own[i] = g.(*llama.Generation) // Start makes no others
	}
	return m.Model.Step(own)
}
