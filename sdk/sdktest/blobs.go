package sdktest

import (
	"errors"
	"sync"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk"
)

// Blobs holds the bytes of blobs: put in those that the input refers to, take out those that the output refers to. The
// zero value is empty. It may be used from many goroutines, and for many runs.
type Blobs struct {
	mu       sync.Mutex // guards the field below
	byDigest map[functions.Digest]functions.Attachment
}

func (b *Blobs) apply(to *bench) error {
	if to.blobs != nil {
		return errors.New("two *Blobs are given; one holds all blobs of a run")
	}
	to.blobs = b
	return nil
}

// Blob puts in data and returns what refers to it.
func (b *Blobs) Blob(mediaType string, data []byte) sdk.Blob {
	a := functions.Attach(mediaType, data)
	b.keep([]functions.Attachment{a})
	return a.Blob
}

// Audio puts in a wav file and returns what refers to it. The test fails if file is none.
func (b *Blobs) Audio(t testing.TB, file []byte) sdk.Audio {
	t.Helper()
	info, err := wav.Parse(file)
	if err != nil {
		t.Fatalf("sdktest: %v", err)
	}
	return sdk.Audio{Blob: b.Blob(wav.MediaType, file), SampleHz: info.SampleHz, Channels: info.Channels, Dur: info.Dur}
}

// Data returns the bytes of ref. The test fails if they are not there.
func (b *Blobs) Data(t testing.TB, ref sdk.Blob) []byte {
	t.Helper()
	a, ok := b.find(ref.Digest)
	if !ok {
		t.Fatalf("sdktest: blob %s is neither of the input nor of the output", ref.Digest)
	}
	return a.Data
}

func (b *Blobs) find(d functions.Digest) (functions.Attachment, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := b.byDigest[d]
	return a, ok
}

func (b *Blobs) keep(more []functions.Attachment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byDigest == nil {
		b.byDigest = map[functions.Digest]functions.Attachment{}
	}
	for _, a := range more {
		b.byDigest[a.Digest] = a
	}
}
