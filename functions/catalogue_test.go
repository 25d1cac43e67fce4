package functions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// shelf is a catalogue that has records only.
type shelf struct {
	Catalogue
	records map[Digest][]byte
}

func (s shelf) Record(_ context.Context, kind RecordKind, d Digest) ([]byte, error) {
	if data, ok := s.records[d]; ok {
		return data, nil
	}
	return nil, fmt.Errorf("%w: no %s", ErrNotFound, kind)
}

func TestReadRecord(t *testing.T) {
	m := Model{Name: "llm", Engine: "llama", File: DigestOf([]byte("weights")), Size: 7}
	damaged := DigestOf([]byte("damaged"))
	cat := shelf{records: map[Digest][]byte{m.Digest(): m.Canonical(), damaged: []byte("{")}}
	got, err := ReadRecord[Model](t.Context(), cat, RecordModel, m.Digest())
	if err != nil || *got != m {
		t.Errorf("got %v, %v; want %v", got, err, m)
	}
	if _, err := ReadRecord[Model](t.Context(), cat, RecordModel, DigestOf(nil)); !errors.Is(err, ErrNotFound) {
		t.Errorf("no record: got %v, want %v", err, ErrNotFound)
	}
	// Damage in the store is nobody's request: it must not look like one that was wrong.
	if _, err := ReadRecord[Model](t.Context(), cat, RecordModel, damaged); CodeOf(err) != CodeInternal || !strings.Contains(err.Error(), "model "+damaged.Short()) {
		t.Errorf("a damaged record: got %v, want an internal error that names it", err)
	}
}
