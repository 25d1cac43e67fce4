package gpuv1

import "github.com/catenary-run/catenary/functions"

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
