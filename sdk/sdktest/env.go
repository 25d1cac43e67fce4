package sdktest

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/catenary-run/catenary/functions"
)

// env is the sdk.Env of one call.
type env struct {
	bench *bench
	call  functions.Call
	blobs Blobs // of the call's input, and those that the func made
}

// ReadBlob implements sdk.Env.
func (e *env) ReadBlob(_ context.Context, b functions.Blob) ([]byte, error) {
	a, ok := e.blobs.find(b.Digest)
	if !ok {
		return nil, fmt.Errorf("%w: blob %s is not one of the call's input", functions.ErrNotFound, b.Digest.Short())
	}
	return a.Data, nil
}

// WriteBlob implements sdk.Env.
func (e *env) WriteBlob(_ context.Context, mediaType string, data []byte) (functions.Blob, error) {
	return e.blobs.Blob(mediaType, data), nil
}

// Log implements sdk.Env.
func (e *env) Log(level slog.Level, line string) {
	e.bench.t.Logf("%s %s: %s", level, e.call.Step, line)
}

// Turns implements sdk.Env.
func (e *env) Turns() *functions.Turns { return e.call.Turns }

// Generate implements sdk.Env.
func (e *env) Generate(_ context.Context, model string, req functions.Generation) (functions.Tokens, error) {
	answer, ok := e.bench.models[model]
	if !ok {
		return nil, fmt.Errorf("%w: model %q: pass sdktest.Model to the run, and declare it under uses in catenary.yaml", functions.ErrDenied, model)
	}
	texts, finish := answer(req), "stop"
	if req.MaxTokens > 0 && len(texts) > req.MaxTokens {
		texts, finish = texts[:req.MaxTokens], "length"
	}
	if len(texts) == 0 {
		texts = []string{""}
	}
	return &tokens{texts, finish}, nil
}

type model struct {
	name   string
	answer func(functions.Generation) []string
}

// Model answers for the model of that name: answer returns the texts of its tokens.
func Model(name string, answer func(functions.Generation) []string) Option {
	return model{name, answer}
}

func (m model) apply(b *bench) error {
	if err := functions.CheckName("model", m.name); err != nil {
		return err
	}
	if b.models[m.name] != nil {
		return fmt.Errorf("model %s is given twice", m.name)
	}
	b.models[m.name] = m.answer
	return nil
}

// tokens is an answer that is all there.
type tokens struct {
	texts  []string
	finish string
}

func (t *tokens) Recv(ctx context.Context) (functions.Token, error) {
	if ctx.Err() != nil {
		return functions.Token{}, context.Cause(ctx)
	}
	if len(t.texts) == 0 {
		return functions.Token{}, io.EOF
	}
	tok := functions.Token{Text: t.texts[0]}
	if t.texts = t.texts[1:]; len(t.texts) == 0 {
		tok.Finish = t.finish
	}
	return tok, nil
}

func (t *tokens) Close() error {
	t.texts = nil
	return nil
}
