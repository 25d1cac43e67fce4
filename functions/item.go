package functions

import (
	"context"
	"io"
	"time"
)

// Item is one message on an edge. It must not be changed once it has been sent.
type Item struct {
	// Value is one CBOR data item (RFC 8949). It must not be empty.
	Value []byte
	// Blobs holds the bytes of every blob that Value refers to: by reference inside a process, copied between them.
	Blobs []Attachment
	// Seq counts the items of an edge from 0.
	Seq uint64
	// Turn is the utterance of the caller that the item belongs to, from 0.
	Turn uint64
	// Time is when the thing that the item tells of happened; zero if nobody said.
	Time time.Time
}

// Size returns the bytes that the item holds: its value and the blobs that travel with it.
func (it Item) Size() int64 {
	n := int64(len(it.Value))
	for _, b := range it.Blobs {
		n += int64(len(b.Data))
	}
	return n
}

// Blob refers to bytes by their digest. In a value it is a map with the keys blob, type and size.
type Blob struct {
	Digest Digest `json:"blob"`
	// Type is a media type such as audio/wav.
	Type string `json:"type"`
	// Size is the count of bytes.
	Size int64 `json:"size"`
}

// Audio is a blob of audio/wav, with what its header says.
type Audio struct {
	Blob
	SampleHz int           `json:"sample_hz"`
	Channels int           `json:"channels"`
	Dur      time.Duration `json:"dur"` // nanoseconds in JSON and CBOR
}

// Attachment is a blob together with its bytes.
type Attachment struct {
	Blob
	Data []byte `json:"-"`
}

// Attach returns data as an attachment with its digest and size.
func Attach(mediaType string, data []byte) Attachment {
	return Attachment{Blob: Blob{Digest: DigestOf(data), Type: mediaType, Size: int64(len(data))}, Data: data}
}

// Source is the reading end of an edge. Recv blocks until an item is there; it returns io.EOF after the last one, the
// writer's error if the writer failed, and the cause of ctx when ctx ends. One goroutine at a time may call Recv.
type Source interface {
	Recv(ctx context.Context) (Item, error)
}

// Sink is the writing end of an edge. Send blocks while the edge is full. It returns the reader's reason once the
// reader is gone, and the cause of ctx when ctx ends. One goroutine at a time may call Send.
type Sink interface {
	Send(ctx context.Context, it Item) error
}

// Items returns a Source of the given items.
func Items(items ...Item) Source { return &itemSource{items: items} }

type itemSource struct{ items []Item }

func (s *itemSource) Recv(ctx context.Context) (Item, error) {
	if ctx.Err() != nil {
		return Item{}, context.Cause(ctx)
	}
	if len(s.items) == 0 {
		return Item{}, io.EOF
	}
	it := s.items[0]
	s.items = s.items[1:]
	return it, nil
}

// SinkFunc makes a Sink of a func.
type SinkFunc func(ctx context.Context, it Item) error

// Send calls f.
func (f SinkFunc) Send(ctx context.Context, it Item) error { return f(ctx, it) }

// Collect reads src to its end and returns its items. It is for tests and for edges known to be short.
func Collect(ctx context.Context, src Source) ([]Item, error) {
	var items []Item
	for {
		it, err := src.Recv(ctx)
		if err == io.EOF {
			return items, nil
		}
		if err != nil {
			return items, err
		}
		items = append(items, it)
	}
}
