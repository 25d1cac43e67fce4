package main

import (
	"context"
	"errors"
	"io"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/examples/functions/voice/sentence"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sdk"
)

// maxTokens ends an answer that does not end by itself: some 20 seconds of speech.
const maxTokens = 160

// answer asks the model and sends each sentence as soon as it is whole, so that speaking can begin before the model
// has ended.
func answer(ctx context.Context, question voice.Transcript) (sdk.Stream[voice.Sentence], error) {
	tokens, err := sdk.Generate(ctx, "llm", functions.Generation{
		Messages:  []functions.Message{{Role: "user", Content: question.Text}},
		MaxTokens: maxTokens,
	})
	if err != nil {
		return nil, err
	}
	return func(yield func(voice.Sentence, error) bool) {
		defer tokens.Close()
		send := func(sentences []string) bool {
			for _, text := range sentences {
				if !yield(voice.Sentence{Text: text}, nil) {
					return false
				}
			}
			return true
		}
		var split sentence.Splitter
		for {
			token, err := tokens.Recv(ctx)
			if errors.Is(err, io.EOF) {
				send(split.Flush())
				return
			}
			if err != nil {
				yield(voice.Sentence{}, err)
				return
			}
			if !send(split.Add(token.Text)) {
				return
			}
		}
	}, nil
}
