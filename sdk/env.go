package sdk

import (
	"context"
	"errors"
	"log/slog"

	"github.com/catenary-run/catenary/functions"
)

// Env is what the context of a running implementation carries: sdk/guest, sdk/plugin and sdk/sdktest each give one.
type Env interface {
	functions.Host
	// ReadBlob returns the bytes of a blob of the input.
	ReadBlob(ctx context.Context, b functions.Blob) ([]byte, error)
	// WriteBlob makes a blob that travels with the next value that is returned or sent.
	WriteBlob(ctx context.Context, mediaType string, data []byte) (functions.Blob, error)
}

type envKey struct{}

// WithEnv returns a context that carries env. It is for packages that serve implementations.
func WithEnv(ctx context.Context, env Env) context.Context {
	return context.WithValue(ctx, envKey{}, env)
}

var errNoEnv = errors.New("sdk: the context is not that of a running function: pass on the one that the implementation got")

func envOf(ctx context.Context) (Env, error) {
	if env, ok := ctx.Value(envKey{}).(Env); ok {
		return env, nil
	}
	return nil, errNoEnv
}

// ReadBlob returns the bytes of a blob of the function's input. They must not be changed.
func ReadBlob(ctx context.Context, b Blob) ([]byte, error) {
	env, err := envOf(ctx)
	if err != nil {
		return nil, err
	}
	return env.ReadBlob(ctx, b)
}

// NewBlob makes a blob of data, to be put into the value that the function returns or sends next.
func NewBlob(ctx context.Context, mediaType string, data []byte) (Blob, error) {
	env, err := envOf(ctx)
	if err != nil {
		return Blob{}, err
	}
	return env.WriteBlob(ctx, mediaType, data)
}

// Generate asks a model that the function's manifest declares under uses. The caller closes the tokens. The error
// wraps functions.ErrDenied if the model is not declared.
func Generate(ctx context.Context, model string, req functions.Generation) (functions.Tokens, error) {
	env, err := envOf(ctx)
	if err != nil {
		return nil, err
	}
	return env.Generate(ctx, model, req)
}

// ErrInterrupted is wrapped by what ends since its turn is over: the run goes on.
var ErrInterrupted = functions.ErrInterrupted

type turnKey struct{}

// TurnContext returns a context that ends, with a cause that wraps [ErrInterrupted], when turn is over. What [Generate]
// is asked for under it belongs to that turn. The caller cancels it when it is done with the turn.
func TurnContext(ctx context.Context, turn uint64) (context.Context, context.CancelFunc) {
	var turns *functions.Turns
	if env, err := envOf(ctx); err == nil {
		turns = env.Turns()
	}
	return turns.Context(context.WithValue(ctx, turnKey{}, turn), turn)
}

// TurnOf returns the turn of a context that [TurnContext] made. It is for packages that serve implementations.
func TurnOf(ctx context.Context) (turn uint64, ok bool) {
	turn, ok = ctx.Value(turnKey{}).(uint64)
	return turn, ok
}

// Log writes one line to the server's log, under the function's name. Outside a running function it does nothing.
func Log(ctx context.Context, level slog.Level, line string) {
	if env, err := envOf(ctx); err == nil {
		env.Log(level, line)
	}
}
