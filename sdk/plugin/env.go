package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/catenary-run/catenary/functions"
)

// env is the sdk.Env of one call.
type env struct {
	log   io.Writer
	turns *functions.Turns // nil if the input is not a stream: the context of such a call ends with its turn
	blobs blobs
}

// ReadBlob returns the bytes of a blob that came with an item.
func (e *env) ReadBlob(_ context.Context, b functions.Blob) ([]byte, error) {
	return e.blobs.read(b.Digest)
}

// WriteBlob makes a blob that travels with the item that refers to it.
func (e *env) WriteBlob(_ context.Context, mediaType string, data []byte) (functions.Blob, error) {
	return e.blobs.make(mediaType, data), nil
}

// Turns tells which turns of the run are over.
func (e *env) Turns() *functions.Turns { return e.turns }

// Generate refuses: the protocol has no way to a model yet.
func (e *env) Generate(_ context.Context, model string, _ functions.Generation) (functions.Tokens, error) {
	return nil, fmt.Errorf("%w: a plugin can't use models, such as %q; use a function of kind wasm", functions.ErrDenied, model)
}

// logLine is a line of the log in the form that hclog writes and nodes read.
type logLine struct {
	Level   string `json:"@level"`
	Message string `json:"@message"`
}

// Log writes one line of the log.
func (e *env) Log(level slog.Level, line string) {
	name := "error"
	switch {
	case level < slog.LevelInfo:
		name = "debug"
	case level < slog.LevelWarn:
		name = "info"
	case level < slog.LevelError:
		name = "warn"
	}
	b, err := json.Marshal(logLine{Level: name, Message: strings.ToValidUTF8(line, "\uFFFD")})
	if err != nil {
		return // two strings always have a form
	}
	// One write is one line, even when several goroutines log. Nobody could be told if it failed.
	_, _ = e.log.Write(append(b, '\n'))
}
