package main

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/catenary-run/catenary/examples/functions/voice"
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
		var split splitter
		for {
			token, err := tokens.Recv(ctx)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				yield(voice.Sentence{}, err)
				return
			}
			for _, sentence := range split.add(token.Text) {
				if !yield(voice.Sentence{Text: sentence}, nil) {
					return
				}
			}
		}
		if rest := split.rest(); rest != "" {
			yield(voice.Sentence{Text: rest}, nil)
		}
	}, nil
}

// splitter cuts a growing text after each full stop, question mark or exclamation mark that white space follows.
type splitter struct{ text string }

// add appends text and returns the sentences that are whole now.
func (s *splitter) add(text string) []string {
	s.text += text
	var whole []string
	for {
		end := sentenceEnd(s.text)
		if end < 0 {
			return whole
		}
		if sentence := strings.TrimSpace(s.text[:end]); sentence != "" {
			whole = append(whole, sentence)
		}
		s.text = s.text[end:]
	}
}

// rest returns what is left when no more text comes.
func (s *splitter) rest() string { return strings.TrimSpace(s.text) }

// sentenceEnd returns the offset behind the first whole sentence of text, or -1.
func sentenceEnd(text string) int {
	for i := 0; i+1 < len(text); i++ {
		if strings.ContainsRune(".?!", rune(text[i])) && (text[i+1] == ' ' || text[i+1] == '\n') {
			return i + 1
		}
	}
	return -1
}
