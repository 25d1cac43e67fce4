package functions

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
)

// RecordKind says what a record of the catalogue is.
type RecordKind string

// The kinds of record. Each is the canonical JSON of what it is named after.
const (
	RecordManifest RecordKind = "manifest"
	RecordModel    RecordKind = "model"
	RecordGraph    RecordKind = "graph"
)

// Alias is a name that moves: "chain/voice" to a graph, "function/speak" to a manifest, "model/llm" to a model.
type Alias struct {
	Name   string `json:"name"`
	Digest Digest `json:"digest"`
	// Rev counts the changes of this name from 1.
	Rev uint64 `json:"rev"`
}

// Catalogue holds what is deployed: immutable records by digest, and the aliases that point to them. It may be used
// from many goroutines, and by many processes where its implementation says so.
type Catalogue interface {
	// PutRecord stores data under its digest. To store the same again changes nothing.
	PutRecord(ctx context.Context, kind RecordKind, data []byte) (Digest, error)
	// Record returns an error wrapping [ErrNotFound] if there is none.
	Record(ctx context.Context, kind RecordKind, d Digest) ([]byte, error)
	// Alias returns an error wrapping [ErrNotFound] if there is none.
	Alias(ctx context.Context, name string) (Alias, error)
	// Aliases returns those whose names begin with prefix, sorted by name.
	Aliases(ctx context.Context, prefix string) ([]Alias, error)
	// SetAlias moves name to d if its revision is still rev (0: if there is no such name), and returns it with its
	// new revision. It returns an error wrapping [ErrConflict] otherwise.
	SetAlias(ctx context.Context, name string, d Digest, rev uint64) (Alias, error)
	// Watch calls changed for every alias as it is now, then for each change, until ctx ends; it may leave out states
	// that were replaced meanwhile, never the last one. A revision goes back, or an alias is gone (told with revision 0),
	// only if the backend has lost what it held. It returns the cause of ctx, or why it could not go on.
	Watch(ctx context.Context, changed func(Alias)) error
}

// ReadRecord reads a record of the catalogue as what its kind is the JSON of. It returns an error wrapping
// [ErrNotFound] if there is none. A record that can't be read is damaged: no fault of who asks, so no sentinel says so.
func ReadRecord[T any](ctx context.Context, cat Catalogue, kind RecordKind, d Digest) (*T, error) {
	data, err := cat.Record(ctx, kind, d)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, d.Short(), err)
	}
	v := new(T)
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("%s %s in the catalogue is damaged: %w", kind, d.Short(), err)
	}
	return v, nil
}

// Blobs holds bytes by digest. It may be used from many goroutines.
type Blobs interface {
	// Put stores what r yields if its digest is want. It returns an error wrapping [ErrInvalid] if it is another one,
	// and keeps nothing then.
	Put(ctx context.Context, want Digest, r io.Reader) (size int64, err error)
	// Open returns the bytes and their count. It returns an error wrapping [ErrNotFound] if there are none, also if only
	// this node has a copy. Reading damaged bytes fails before their end.
	Open(ctx context.Context, d Digest) (io.ReadCloser, int64, error)
	// Path returns a local file with the blob's bytes, fetched first if they are elsewhere. Nobody may change it.
	Path(ctx context.Context, d Digest) (string, error)
	// Verify reads what Path returns, and removes it if it is damaged. Its error wraps [ErrNotFound] if Path has nothing
	// then, and can fetch nothing.
	Verify(ctx context.Context, d Digest) (damaged bool, err error)
}
