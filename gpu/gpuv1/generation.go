package gpuv1

import "github.com/catenary-run/catenary/functions"

// Generation returns what a request asks a model.
func (x *GenerateRequest) Generation() functions.Generation {
	gen := functions.Generation{
		MaxTokens:   int(x.GetMaxTokens()),
		Temperature: x.GetTemperature(),
		TopP:        x.GetTopP(),
		Seed:        x.GetSeed(),
	}
	for _, m := range x.GetMessages() {
		gen.Messages = append(gen.Messages, functions.Message{Role: m.GetRole(), Content: m.GetContent()})
	}
	return gen
}
