package gpuv1

import (
	"math"

	"github.com/catenary-run/catenary/functions"
)

// NewGenerateRequest returns a request that asks a model what gen says, of no model yet. Numbers that make no sense stay so:
// the engine refuses them.
func NewGenerateRequest(gen functions.Generation) *GenerateRequest {
	x := &GenerateRequest{
		Caller:      gen.Caller,
		MaxTokens:   int32(min(max(gen.MaxTokens, math.MinInt32), 1<<30)),
		Temperature: gen.Temperature,
		TopK:        int32(min(max(gen.TopK, math.MinInt32), math.MaxInt32)),
		TopP:        gen.TopP,
		MinP:        gen.MinP,
		Repetition:  gen.Repetition,
		Seed:        gen.Seed,
		Stop:        gen.Stop,
	}
	for _, m := range gen.Messages {
		x.Messages = append(x.Messages, &Message{Role: m.Role, Content: m.Content})
	}
	return x
}

// Generation returns what a request asks a model.
func (x *GenerateRequest) Generation() functions.Generation {
	gen := functions.Generation{
		MaxTokens:   int(x.GetMaxTokens()),
		Temperature: x.GetTemperature(),
		TopK:        int(x.GetTopK()),
		TopP:        x.GetTopP(),
		MinP:        x.GetMinP(),
		Repetition:  x.GetRepetition(),
		Seed:        x.GetSeed(),
		Stop:        x.GetStop(),
	}
	for _, m := range x.GetMessages() {
		gen.Messages = append(gen.Messages, functions.Message{Role: m.GetRole(), Content: m.GetContent()})
	}
	return gen
}
