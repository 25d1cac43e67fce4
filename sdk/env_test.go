package sdk_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sdk"
)

// fakeEnv answers what it was asked.
type fakeEnv struct{ asked []string }

func (e *fakeEnv) ReadBlob(_ context.Context, b functions.Blob) ([]byte, error) {
	return []byte("read " + b.Type), nil
}

func (e *fakeEnv) WriteBlob(_ context.Context, mediaType string, data []byte) (functions.Blob, error) {
	return functions.Attach(mediaType, data).Blob, nil
}

func (e *fakeEnv) Generate(_ context.Context, model string, _ functions.Generation) (functions.Tokens, error) {
	return nil, errors.New("asked " + model)
}

func (e *fakeEnv) Log(level slog.Level, line string) {
	e.asked = append(e.asked, level.String()+" "+line)
}

func TestEnv_IsThatOfTheContext(t *testing.T) {
	env := &fakeEnv{}
	ctx := sdk.WithEnv(t.Context(), env)
	if b, err := sdk.ReadBlob(ctx, sdk.Blob{Type: "a/b"}); string(b) != "read a/b" || err != nil {
		t.Errorf("ReadBlob: got %q, %v", b, err)
	}
	if b, err := sdk.NewBlob(ctx, "a/b", []byte("x")); b != functions.Attach("a/b", []byte("x")).Blob || err != nil {
		t.Errorf("NewBlob: got %v, %v", b, err)
	}
	if _, err := sdk.Generate(ctx, "llm", functions.Generation{}); err == nil || err.Error() != "asked llm" {
		t.Errorf("Generate: got %v", err)
	}
	sdk.Log(ctx, slog.LevelWarn, "careful")
	if len(env.asked) != 1 || env.asked[0] != "WARN careful" {
		t.Errorf("Log: got %q", env.asked)
	}
}

func TestEnv_OutsideOfAFunction(t *testing.T) {
	ctx := t.Context()
	_, read := sdk.ReadBlob(ctx, sdk.Blob{})
	_, made := sdk.NewBlob(ctx, "a/b", nil)
	_, generated := sdk.Generate(ctx, "llm", functions.Generation{})
	for what, err := range map[string]error{"ReadBlob": read, "NewBlob": made, "Generate": generated} {
		if err == nil || !strings.Contains(err.Error(), "not that of a running function") {
			t.Errorf("%s: got %v", what, err)
		}
	}
	sdk.Log(ctx, slog.LevelInfo, "nobody hears this")
}
