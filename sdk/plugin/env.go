package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
	"google.golang.org/grpc"
)

// env is the sdk.Env of one call.
type env struct {
	log io.Writer

	mu   sync.Mutex                  // guards the fields below
	in   map[functions.Digest][]byte // the blobs of all items that came so far
	out  []*pluginv1.Blob            // those that travel with the next item
	turn uint64                      // of the last item that came
	sent uint64                      // items sent
}

func newEnv(log io.Writer) *env { return &env{log: log, in: map[functions.Digest][]byte{}} }

// ReadBlob returns the bytes of a blob that came with an item.
func (e *env) ReadBlob(_ context.Context, b functions.Blob) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	data, ok := e.in[b.Digest]
	if !ok {
		return nil, fmt.Errorf("%w: blob %s did not travel with the input", functions.ErrNotFound, b.Digest.Short())
	}
	return data, nil
}

// WriteBlob makes a blob that travels with the next item.
func (e *env) WriteBlob(_ context.Context, mediaType string, data []byte) (functions.Blob, error) {
	b := functions.Attach(mediaType, data).Blob
	e.mu.Lock()
	defer e.mu.Unlock()
	e.out = append(e.out, &pluginv1.Blob{Digest: string(b.Digest), Type: mediaType, Data: data})
	return b, nil
}

// Turns tells nothing: no interruption reaches a plugin yet.
func (e *env) Turns() *functions.Turns { return nil }

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

// source is the call's input.
type source struct {
	stream grpc.BidiStreamingServer[pluginv1.Item, pluginv1.Item]
	env    *env
}

// Recv takes the next item. It blocks until the call ends, whatever ctx says.
func (s source) Recv(context.Context) (functions.Item, error) {
	m, err := s.stream.Recv()
	if err != nil {
		if ctx := s.stream.Context(); !errors.Is(err, io.EOF) && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return functions.Item{}, err
	}
	it := functions.Item{Value: m.GetValue(), Seq: m.GetSeq(), Turn: m.GetTurn()}
	if ns := m.GetTimeUnixNanos(); ns != 0 {
		it.Time = time.Unix(0, ns)
	}
	s.env.mu.Lock()
	defer s.env.mu.Unlock()
	s.env.turn = it.Turn
	for _, b := range m.GetBlobs() {
		s.env.in[functions.Digest(b.GetDigest())] = b.GetData()
	}
	return it, nil
}

// sink is the call's output.
type sink struct {
	stream grpc.BidiStreamingServer[pluginv1.Item, pluginv1.Item]
	env    *env
}

// Send sends it with the blobs that were made since the last item, in the turn of the last item that came.
func (s sink) Send(ctx context.Context, it functions.Item) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.env.mu.Lock()
	m := &pluginv1.Item{Value: it.Value, Blobs: s.env.out, Seq: s.env.sent, Turn: s.env.turn}
	s.env.out = nil
	s.env.sent++
	s.env.mu.Unlock()
	return s.stream.Send(m)
}
