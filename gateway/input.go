package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/functions/wav"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// errMediaType says that a body is of a kind that the chain does not take.
var errMediaType = fmt.Errorf("%w: media type", functions.ErrInvalid)

// bodyKind is how the body of a plain request becomes a value.
type bodyKind int

const (
	bodyJSON bodyKind = iota
	bodyText
	bodyAudio
)

// accepts returns the media types that POST /chains/NAME takes for a schema, for people and for the Accept-Post header.
func accepts(s *functions.Schema) []string {
	types := []string{"application/json"}
	if _, ok := s.TextProperty(); ok {
		types = append(types, "text/plain")
	}
	if s.Format == functions.FormatAudio || s.Format == functions.FormatBlob {
		types = append(types, "audio/*")
	}
	return types
}

// kindOf returns how a body of that content type becomes a value of s. The error wraps errMediaType and names what is
// accepted.
func kindOf(s *functions.Schema, contentType string) (kind bodyKind, mediaType string, err error) {
	refuse := func(why string) (bodyKind, string, error) {
		return 0, "", fmt.Errorf("%w: %s; this chain takes %s, and accepts %s", errMediaType, why, s, strings.Join(accepts(s), ", "))
	}
	if contentType == "" {
		return refuse("the request has no Content-Type")
	}
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return refuse(fmt.Sprintf("Content-Type %q can't be read", clip(contentType)))
	}
	switch {
	case mediaType == "application/json":
		return bodyJSON, mediaType, nil
	case mediaType == "text/plain":
		if cs := params["charset"]; cs != "" && !strings.EqualFold(cs, "utf-8") && !strings.EqualFold(cs, "us-ascii") {
			return refuse(fmt.Sprintf("charset %q is not utf-8", clip(cs)))
		}
		if _, ok := s.TextProperty(); ok {
			return bodyText, mediaType, nil
		}
	case strings.HasPrefix(mediaType, "audio/"):
		if s.Format == functions.FormatAudio || s.Format == functions.FormatBlob {
			return bodyAudio, mediaType, nil
		}
	}
	return refuse(fmt.Sprintf("Content-Type %q does not fit", clip(mediaType)))
}

// opener returns the bytes of a blob that an input refers to.
type opener = func(functions.Digest) ([]byte, error)

// parseBody returns the value that a plain body stands for, with the blobs that it holds or refers to.
func parseBody(s *functions.Schema, kind bodyKind, mediaType string, body []byte, open opener) ([]byte, []functions.Attachment, error) {
	switch kind {
	case bodyText:
		if !utf8.Valid(body) {
			return nil, nil, fmt.Errorf("%w: the text is not UTF-8", functions.ErrInvalid)
		}
		var v any = string(body)
		if name, _ := s.TextProperty(); name != "" {
			v = map[string]string{name: string(body)}
		}
		b, err := value.Encode(v)
		return b, nil, err
	case bodyAudio:
		if s.Format == functions.FormatBlob {
			att := functions.Attach(mediaType, body)
			b, err := value.Encode(att.Blob)
			return b, []functions.Attachment{att}, err
		}
		info, err := wav.Parse(body)
		if err != nil {
			return nil, nil, err
		}
		att := functions.Attach(wav.MediaType, body)
		b, err := value.Encode(functions.Audio{Blob: att.Blob, SampleHz: info.SampleHz, Channels: info.Channels, Dur: info.Dur})
		return b, []functions.Attachment{att}, err
	default:
		return value.FromJSON(s, body, open)
	}
}

// inputJSON returns the item that JSON stands for.
func (s *Server) inputJSON(ctx context.Context, schema *functions.Schema, json []byte) (functions.Item, error) {
	if len(json) == 0 {
		return functions.Item{}, fmt.Errorf("%w: the input is empty; this chain takes %s as JSON", functions.ErrInvalid, schema)
	}
	v, blobs, err := value.FromJSON(schema, json, s.opener(ctx))
	if err != nil {
		return functions.Item{}, fmt.Errorf("input: %w", err)
	}
	return s.inputOf(v, blobs)
}

// inputItem returns the item of a message, checked, with the bytes of every blob that it refers to.
func (s *Server) inputItem(ctx context.Context, schema *functions.Schema, m *catenaryv1.Item) (functions.Item, error) {
	came, err := m.Functions()
	if err != nil {
		return functions.Item{}, fmt.Errorf("input: %w", err)
	}
	refs, err := value.CheckBlobs(schema, came.Value)
	if err != nil {
		return functions.Item{}, fmt.Errorf("input: %w", err)
	}
	open := s.opener(ctx)
	var blobs []functions.Attachment
	for _, ref := range refs {
		if find(blobs, ref.Digest) != nil {
			continue
		}
		var data []byte
		if a := find(came.Blobs, ref.Digest); a != nil {
			data = a.Data
		} else if data, err = open(ref.Digest); err != nil {
			return functions.Item{}, fmt.Errorf("input: blob %s: %w", ref.Digest, err)
		}
		if ref.Size != int64(len(data)) {
			return functions.Item{}, fmt.Errorf("input: blob %s: %w: it has %d bytes, the value says %d", ref.Digest, functions.ErrInvalid, len(data), ref.Size)
		}
		blobs = append(blobs, functions.Attachment{Blob: ref, Data: data})
	}
	it, err := s.inputOf(came.Value, blobs)
	it.Turn, it.Time = came.Turn, came.Time
	return it, err
}

func find(all []functions.Attachment, d functions.Digest) *functions.Attachment {
	for i := range all {
		if all[i].Digest == d {
			return &all[i]
		}
	}
	return nil
}

// inputOf returns v with its blobs as an item, if an input may hold so much.
func (s *Server) inputOf(v []byte, blobs []functions.Attachment) (functions.Item, error) {
	it := functions.Item{Value: v, Blobs: blobs}
	if it.Size() > s.cfg.MaxItem {
		return functions.Item{}, fmt.Errorf("input: %w: the value and its blobs hold %d bytes; one input may hold %d", functions.ErrMemoryLimit, it.Size(), s.cfg.MaxItem)
	}
	return it, nil
}

// opener opens the blobs of one input: results that are still held, or stored blobs. Together they are no more than an
// input may hold.
func (s *Server) opener(ctx context.Context) opener {
	left := s.cfg.MaxItem
	return func(d functions.Digest) ([]byte, error) {
		data, err := s.blobBytes(ctx, d, left)
		left -= int64(len(data))
		return data, err
	}
}

// blobBytes returns the bytes of a blob, if they are no more than limit.
func (s *Server) blobBytes(ctx context.Context, d functions.Digest, limit int64) ([]byte, error) {
	tooLarge := func(size int64) error {
		return fmt.Errorf("%w: it has %d bytes; one input may hold %d in all", functions.ErrMemoryLimit, size, s.cfg.MaxItem)
	}
	if a, ok := s.results.get(d, time.Now()); ok {
		if a.Size > limit {
			return nil, tooLarge(a.Size)
		}
		return a.Data, nil
	}
	r, size, err := s.deps.Blobs.Open(ctx, d)
	if errors.Is(err, functions.ErrNotFound) {
		return nil, fmt.Errorf("%w: neither a recent result nor stored; send it as {\"data\":BASE64,\"type\":TYPE}, or PUT /blobs/%s first", functions.ErrNotFound, d.Hex())
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > limit {
		return nil, tooLarge(size)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return data, nil
}
