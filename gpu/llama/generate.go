package llama

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"

	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/catenary-run/catenary/functions"
)

// Finish values of the last token.
const (
	finishStop   = "stop"
	finishLength = "length"
)

// Generate answers req and calls emit for each piece of the answer as it comes; the last one has its Finish set. It
// looks at ctx before every token, and returns emit's error at once. Nothing of the call stays in the context.
func (m *Model) Generate(ctx context.Context, req functions.Generation, emit func(functions.Token) error) error {
	if !m.Awake() {
		return fmt.Errorf("%w: the model is parked; wake it first", functions.ErrConflict)
	}
	if err := checkRequest(req); err != nil {
		return err
	}
	text, err := m.prompt(req.Messages)
	if err != nil {
		return err
	}
	prompt := llama.Tokenize(m.vocab, text, true, true)
	if len(prompt) == 0 {
		return fmt.Errorf("%w: the prompt has no tokens", functions.ErrInvalid)
	}
	// One place must be left, or the model could not answer.
	if len(prompt) >= m.opt.Context {
		return fmt.Errorf("%w: the prompt has %d tokens, but the model's context holds %d and the answer needs one at least; shorten the prompt or raise the model's context",
			functions.ErrInvalid, len(prompt), m.opt.Context)
	}
	memory, err := llama.GetMemory(m.ctx)
	if err != nil {
		return fmt.Errorf("llama: %w", err)
	}
	// With true the data goes too: no later call can read this one's.
	defer func() { _ = llama.MemoryClear(memory, true) }()

	if err := m.decodePrompt(ctx, prompt); err != nil {
		return err
	}
	return m.decodeAnswer(ctx, len(prompt), req, emit)
}

func (m *Model) decodePrompt(ctx context.Context, prompt []llama.Token) error {
	for at := 0; at < len(prompt); at += batchTokens {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := m.decode(prompt[at:min(at+batchTokens, len(prompt))]); err != nil {
			return err
		}
	}
	return nil
}

// decodeAnswer samples token after token; used is how many places of the context are taken.
func (m *Model) decodeAnswer(ctx context.Context, used int, req functions.Generation, emit func(functions.Token) error) error {
	sampler := newSampler(req)
	defer llama.SamplerFree(sampler)

	var out pieces
	for n := 1; ; n++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		token := llama.SamplerSample(sampler, m.ctx, -1)
		if llama.VocabIsEOG(m.vocab, token) {
			return emit(functions.Token{Text: out.rest(), Finish: finishStop})
		}
		text := out.add(m.piece(token))
		if n == req.MaxTokens || used == m.opt.Context {
			return emit(functions.Token{Text: text + out.rest(), Finish: finishLength})
		}
		if text != "" {
			if err := emit(functions.Token{Text: text}); err != nil {
				return err
			}
		}
		if err := m.decode([]llama.Token{token}); err != nil {
			return err
		}
		used++
	}
}

func (m *Model) decode(tokens []llama.Token) error {
	code, err := llama.Decode(m.ctx, llama.BatchGetOne(tokens))
	runtime.KeepAlive(tokens) // the batch only borrows them
	if err == nil && code != 0 {
		err = fmt.Errorf("llama_decode returned %d", code)
	}
	if err != nil {
		return fmt.Errorf("llama: %w", err)
	}
	return nil
}

// piece returns the bytes that a token stands for: not always whole characters, and none for a control token.
func (m *Model) piece(token llama.Token) []byte {
	buf := make([]byte, 64)
	n := llama.TokenToPiece(m.vocab, token, buf, 0, false)
	if n < 0 { // it needs -n bytes
		buf = make([]byte, -n)
		n = llama.TokenToPiece(m.vocab, token, buf, 0, false)
	}
	return buf[:max(0, n)]
}

// newSampler returns a chain that the caller frees.
func newSampler(req functions.Generation) llama.Sampler {
	chain := llama.SamplerChainInit(llama.SamplerChainDefaultParams())
	if req.Temperature == 0 {
		llama.SamplerChainAdd(chain, llama.SamplerInitGreedy())
		return chain
	}
	if req.TopP > 0 && req.TopP < 1 {
		llama.SamplerChainAdd(chain, llama.SamplerInitTopP(float32(req.TopP), 1))
	}
	seed := req.Seed
	if seed == 0 {
		seed = rand.Uint32()
	}
	llama.SamplerChainAdd(chain, llama.SamplerInitTemp(float32(req.Temperature)))
	llama.SamplerChainAdd(chain, llama.SamplerInitDist(seed))
	return chain
}
