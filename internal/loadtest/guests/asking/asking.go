// Package asking is what the guests have in common that ask the model.
package asking

import (
	"context"
	"errors"
	"io"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sdk"
)

var errStopped = errors.New("the reader has stopped")

// Each asks the model for every item that comes, and sends each token of its answer as an item. Request makes the
// generation of an item, or says why the function fails at it; reply makes an item of a token. An interruption ends one
// answer.
func Each[T any](ctx context.Context, in sdk.Stream[T], request func(T) (functions.Generation, error), reply func(token string) (T, error)) sdk.Stream[T] {
	answer := func(v T, yield func(T, error) bool) error {
		req, err := request(v)
		if err != nil {
			return err
		}
		tokens, err := sdk.Generate(ctx, "llm", req)
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
			out, err := reply(t.Text)
			if err != nil {
				return err
			}
			if !yield(out, nil) {
				return errStopped
			}
		}
	}
	return func(yield func(T, error) bool) {
		for v, err := range in {
			if err == nil {
				err = answer(v, yield)
			}
			switch {
			case errors.Is(err, sdk.ErrInterrupted): // the next one may be of a turn that is not over
			case errors.Is(err, errStopped):
				return
			case err != nil:
				var none T
				yield(none, err)
				return
			}
		}
	}
}

// User is a request of one message.
func User(text string, maxTokens int) functions.Generation {
	return functions.Generation{Messages: []functions.Message{{Role: "user", Content: text}}, MaxTokens: maxTokens}
}
