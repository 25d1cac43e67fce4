package worker

import (
	"context"

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

// Model is one file that an engine holds. One goroutine at a time calls its methods.
type Model interface {
	// Generate calls emit for each piece of the answer and returns its error at once. It looks at ctx before each token.
	Generate(ctx context.Context, req functions.Generation, emit func(functions.Token) error) error
	// Park frees the device's memory; Wake brings the model back. Each does nothing if it is done already.
	Park() llama.Residency
	Wake() (llama.Residency, error)
	Close()
}

// llamaEngine makes an Engine of package llama's: only the type of what Load returns differs.
type llamaEngine struct{ *llama.Engine }

func (e llamaEngine) Load(path string, opt llama.Options) (Model, llama.Residency, error) {
	m, r, err := e.Engine.Load(path, opt)
	if err != nil {
		return nil, r, err // not a nil *llama.Model in an interface
	}
	return m, r, nil
}
