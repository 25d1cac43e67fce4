// Command chat asks the model for every line that comes, and sends each token of the answer as a line.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/guest"
)

// Line is what passes.
type Line struct {
	Text string `json:"text"`
	Do   string `json:"do"` // what goes wrong at it, and where
}

// maxTokens keeps a test short.
const maxTokens = 12

func init() { guest.Serve(sdk.NewFunc[sdk.Stream[Line], sdk.Stream[Line]]("chat"), chat) }

func chat(ctx context.Context, in sdk.Stream[Line]) (sdk.Stream[Line], error) {
	return func(yield func(Line, error) bool) {
		for v, err := range in {
			if err == nil && v.Do == "guest fails" {
				err = fmt.Errorf("%q is bad", v.Text)
			}
			if err == nil {
				err = answer(ctx, v.Text, yield)
			}
			switch {
			case errors.Is(err, sdk.ErrInterrupted): // the next one may be of a turn that is not over
			case errors.Is(err, errStopped):
				return
			case err != nil:
				yield(Line{}, err)
				return
			}
		}
	}, nil
}

var errStopped = errors.New("the reader has stopped")

func answer(ctx context.Context, question string, yield func(Line, error) bool) error {
	tokens, err := sdk.Generate(ctx, "llm", functions.Generation{
		Messages: []functions.Message{{Role: "user", Content: question}}, MaxTokens: maxTokens,
	})
	if err != nil {
		return err
	}
	defer tokens.Close()
	for {
		t, err := tokens.Recv(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if !yield(Line{Text: t.Text}, nil) {
			return errStopped
		}
	}
}

func main() {}
