// Command echo is the function of the benchmarks of hops. The linker sets its name and how it takes what it sends back. It
// is a WASM function, and built for the machine itself, a plugin.
package main

import (
	"context"
	"encoding/json"

	"github.com/catenary-run/catenary/sdk"
)

// Set by -ldflags=-X.
var (
	name = "echo"
	// mode is one: some bytes; stream: all of a stream; blob: one blob, read and written anew; record: a typed struct;
	// json: the same struct as JSON in some bytes, decoded and encoded by encoding/json.
	mode = "one"
)

func one(_ context.Context, in []byte) ([]byte, error) { return in, nil }

func stream(_ context.Context, in sdk.Stream[[]byte]) (sdk.Stream[[]byte], error) { return in, nil }

func blob(ctx context.Context, in sdk.Blob) (sdk.Blob, error) {
	data, err := sdk.ReadBlob(ctx, in)
	if err != nil {
		return sdk.Blob{}, err
	}
	return sdk.NewBlob(ctx, in.Type, data)
}

// Record is a typed struct.
type Record struct {
	ID      int               `json:"id"`
	Name    string            `json:"name"`
	Score   float64           `json:"score"`
	Tags    []string          `json:"tags"`
	Words   []Word            `json:"words"`
	Options map[string]string `json:"options"`
}

// Word is a part of a Record.
type Word struct {
	Text  string  `json:"text"`
	Start float64 `json:"start"`
	End   float64 `json:"end"`
	Known bool    `json:"known"`
}

func whole(_ context.Context, in Record) (Record, error) { return in, nil }

func viaJSON(_ context.Context, in []byte) ([]byte, error) {
	var r Record
	if err := json.Unmarshal(in, &r); err != nil {
		return nil, err
	}
	return json.Marshal(r)
}
