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
type fakeEnv struct {
	asked []string
	turns *functions.Turns
}

func (e *fakeEnv) ReadBlob(_ context.Context, b functions.Blob) ([]byte, error) {
	return []byte("read " + b.Type), nil
}

func (e *fakeEnv) WriteBlob(_ context.Context, mediaType string, data []byte) (functions.Blob, error) {
	return functions.Attach(mediaType, data).Blob, nil
}

func (e *fakeEnv) Turns() *functions.Turns { return e.turns }

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

func TestTurnContext(t *testing.T) {
	env := &fakeEnv{turns: functions.NewTurns()}
	ctx, cancel := sdk.TurnContext(sdk.WithEnv(t.Context(), env), 2)
	defer cancel()
	if turn, ok := sdk.TurnOf(ctx); turn != 2 || !ok {
		t.Errorf("the context is of turn %d, %v", turn, ok)
	}
	env.turns.End(1)
	if ctx.Err() != nil {
		t.Errorf("turn 2 ended with turn 1: %v", context.Cause(ctx))
	}
	env.turns.End(2)
	if !errors.Is(context.Cause(ctx), sdk.ErrInterrupted) {
		t.Errorf("turn 2 ended with %v", context.Cause(ctx))
	}
	if _, ok := sdk.TurnOf(t.Context()); ok {
		t.Error("a context has a turn that nobody gave it")
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
