package llama

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/catenary-run/catenary/functions"
)

// Finish values of the last token.
const (
	finishStop   = "stop"
	finishLength = "length"
)

// Generation is one answer under way, in one slot of a model. The caller ends it. It is of no use once the model is
// parked or the slot cleared.
type Generation struct {
	m       *Model
	slot    int
	req     functions.Generation
	prompt  []llama.Token
	reused  int           // tokens of the prompt that the slot had read before
	head    int           // once so many have been read they are kept as a prefix; 0: they are not
	pending []llama.Token // to decode next: the rest of the prompt, then the last token
	sampler llama.Sampler
	sampled int // tokens
	out     pieces
	stops   stops
}

// Start begins an answer in a slot. What the slot has read that the prompt begins with is not read again; the rest of
// it is forgotten. It decodes nothing yet.
//
// It returns an error wrapping [functions.ErrInvalid] if the request makes no sense or has no room in the context, and
// [functions.ErrConflict] if the model is parked.
func (m *Model) Start(slot int, req functions.Generation) (*Generation, error) {
	if !m.Awake() {
		return nil, fmt.Errorf("%w: the model is parked; wake it first", functions.ErrConflict)
	}
	if slot < 0 || slot >= len(m.seqs) {
		return nil, errNoSlot
	}
	if err := checkRequest(req); err != nil {
		return nil, err
	}
	text, err := m.prompt(req.Messages)
	if err != nil {
		return nil, err
	}
	prompt := llama.Tokenize(m.vocab, text, true, true)
	if len(prompt) == 0 {
		return nil, fmt.Errorf("%w: the prompt has no tokens", functions.ErrInvalid)
	}
	// One place must be left, or the model could not answer.
	if len(prompt) >= m.opt.Context {
		return nil, fmt.Errorf("%w: the prompt has %d tokens, but the model's context holds %d and the answer needs one at least; shorten the prompt or raise the model's context",
			functions.ErrInvalid, len(prompt), m.opt.Context)
	}
	reused, err := m.keep(slot, prompt)
	if err != nil {
		return nil, err
	}
	head := m.head(req.Messages, prompt)
	reused, keep, err := m.takePrefix(slot, reused, head, prompt)
	if err != nil {
		return nil, err
	}
	if !keep {
		head = 0
	}
	return &Generation{m: m, slot: slot, req: req, prompt: prompt, reused: reused, head: head, pending: prompt[reused:], sampler: newSampler(m.vocab, req), stops: stops{words: req.Stop}}, nil
}

// Prompt returns how many tokens the prompt has, and how many of them the slot had read before.
func (g *Generation) Prompt() (tokens, reused int) { return len(g.prompt), g.reused }

// sample takes the next token of the answer from what the step before has yielded at a place of its batch.
func (g *Generation) sample(at int32) Result {
	token := llama.SamplerSample(g.sampler, g.m.ctx, at)
	if llama.VocabIsEOG(g.m.vocab, token) {
		return g.last("", finishStop)
	}
	g.sampled++
	g.pending = []llama.Token{token}
	text, stopped := g.stops.add(g.out.add(g.m.piece(token)))
	switch {
	case stopped:
		return Result{Token: functions.Token{Text: text, Finish: finishStop}, OK: true}
	case g.sampled == g.req.MaxTokens || len(g.m.seqs[g.slot].past) == g.m.opt.Context:
		return g.last(text, finishLength)
	}
	return Result{Token: functions.Token{Text: text}, OK: text != ""}
}

// last returns the end of the answer: text, and all that was held back.
func (g *Generation) last(text, finish string) Result {
	more, stopped := g.stops.add(g.out.rest())
	if text += more; stopped {
		finish = finishStop
	} else {
		text += g.stops.rest()
	}
	return Result{Token: functions.Token{Text: text, Finish: finish}, OK: true}
}

// End frees what the generation holds; what it has read stays in the slot. It may be called more than once.
func (g *Generation) End() {
	if g.sampler != 0 {
		llama.SamplerFree(g.sampler)
		g.sampler = 0
	}
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

// repeatTokens is how many of the answer's last tokens a repetition is looked for among.
const repeatTokens = 64

// newSampler returns a chain that the caller frees.
func newSampler(vocab llama.Vocab, req functions.Generation) llama.Sampler {
	chain := llama.SamplerChainInit(llama.SamplerChainDefaultParams())
	if req.Repetition > 0 && req.Repetition != 1 {
		llama.SamplerChainAdd(chain, llama.SamplerInitPenalties(llama.VocabNTokens(vocab), repeatTokens, float32(req.Repetition), 0, 0))
	}
	if req.Temperature == 0 {
		llama.SamplerChainAdd(chain, llama.SamplerInitGreedy())
		return chain
	}
	if req.TopK > 0 {
		llama.SamplerChainAdd(chain, llama.SamplerInitTopK(int32(min(req.TopK, math.MaxInt32))))
	}
	if req.TopP > 0 && req.TopP < 1 {
		llama.SamplerChainAdd(chain, llama.SamplerInitTopP(float32(req.TopP), 1))
	}
	if req.MinP > 0 {
		llama.SamplerChainAdd(chain, llama.SamplerInitMinP(float32(req.MinP), 1))
	}
	seed := req.Seed
	if seed == 0 {
		seed = rand.Uint32()
	}
	llama.SamplerChainAdd(chain, llama.SamplerInitTemp(float32(req.Temperature)))
	llama.SamplerChainAdd(chain, llama.SamplerInitDist(seed))
	return chain
}
