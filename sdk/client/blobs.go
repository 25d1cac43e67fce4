package client

import (
	"bytes"
	"container/list"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk"
)

// maxHeld bounds the bytes of blobs that a client holds.
const maxHeld = 256 << 20

// Audio makes a value of a wav file (16-bit PCM), to be put into an input. Its error says what b is otherwise.
func (c *Client) Audio(b []byte) (sdk.Audio, error) {
	info, err := wav.Parse(b)
	if err != nil {
		return sdk.Audio{}, err
	}
	blob, err := c.Blob(wav.MediaType, b)
	return sdk.Audio{Blob: blob, SampleHz: info.SampleHz, Channels: info.Channels, Dur: info.Dur}, err
}

// Blob makes a value of bytes, to be put into an input. They must not be changed any more. It returns an error wrapping
// functions.ErrMemoryLimit for more than a client holds; use [Client.PutBlob] for those.
func (c *Client) Blob(mediaType string, data []byte) (sdk.Blob, error) {
	a := functions.Attach(mediaType, data)
	if !c.held.put(a) {
		return sdk.Blob{}, fmt.Errorf("%w: a blob of %d bytes; PutBlob takes larger ones", functions.ErrMemoryLimit, len(data))
	}
	return a.Blob, nil
}

// ReadBlob returns the bytes of a blob: those held here, or what the server has, for as long as it keeps results. They
// must not be changed.
func (c *Client) ReadBlob(ctx context.Context, b sdk.Blob) ([]byte, error) {
	if a, ok := c.held.get(b.Digest); ok {
		return a.Data, nil
	}
	d, err := functions.ParseDigest(string(b.Digest))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.blobURL(d), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, b.Size+1))
	if err != nil {
		return nil, fmt.Errorf("%w: read blob %s: %w", functions.ErrUnavailable, d.Short(), err)
	}
	a := functions.Attach(b.Type, data)
	if a.Digest != d || a.Size != b.Size {
		return nil, fmt.Errorf("%w: the server's bytes of blob %s are not those that its digest names", functions.ErrInvalid, d.Short())
	}
	c.held.put(a)
	return data, nil
}

// PutBlob stores the blob d, of size bytes, on the server unless it is there already; open is called only then.
func (c *Client) PutBlob(ctx context.Context, d functions.Digest, size int64, open func() (io.ReadCloser, error)) error {
	there, err := c.hasBlob(ctx, d)
	if err != nil || there {
		return err
	}
	body, err := open()
	if err != nil {
		return fmt.Errorf("open blob %s: %w", d.Short(), err)
	}
	return c.put(ctx, d, size, body)
}

// put sends the bytes of a blob and closes body.
func (c *Client) put(ctx context.Context, d functions.Digest, size int64, body io.ReadCloser) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.blobURL(d), body)
	if err != nil {
		_ = body.Close()
		return err
	}
	req.ContentLength = size
	if size == 0 {
		req.Body = http.NoBody // otherwise 0 means that the length is unknown
		_ = body.Close()
	}
	resp, err := c.do(req)
	if err != nil {
		return fmt.Errorf("put blob %s: %w", d.Short(), err)
	}
	return resp.Body.Close()
}

func (c *Client) hasBlob(ctx context.Context, d functions.Digest) (bool, error) {
	if _, err := functions.ParseDigest(string(d)); err != nil {
		return false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, c.blobURL(d), nil)
	if err != nil {
		return false, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return false, cause
		}
		return false, fmt.Errorf("%w: server %s: %w; is it running (catenary serve)?", functions.ErrUnavailable, c.base, err)
	}
	_ = resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return true, nil
	case http.StatusNotFound:
		return false, nil
	}
	// The reply to a HEAD has no body that would say why: ask again.
	if req, err = http.NewRequestWithContext(ctx, http.MethodGet, c.blobURL(d), nil); err != nil {
		return false, err
	}
	if resp, err = c.do(req); err != nil {
		return false, fmt.Errorf("look up blob %s: %w", d.Short(), err)
	}
	_ = resp.Body.Close()
	return true, nil
}

func (c *Client) blobURL(d functions.Digest) string { return c.base + "/blobs/" + d.Hex() }

// inlineBytes is the most that an input's blobs may hold to travel with it; larger ones are put on the server first.
const inlineBytes = 16 << 20

// item returns value with the blobs that it refers to, as far as they are held here: the server looks up the others.
func (c *Client) item(ctx context.Context, value []byte, refs []functions.Blob) (functions.Item, error) {
	it := functions.Item{Value: value}
	for _, ref := range refs {
		a, ok := c.held.get(ref.Digest)
		if !ok {
			continue
		}
		if it.Size()+a.Size <= inlineBytes {
			a.Type = ref.Type
			it.Blobs = append(it.Blobs, a)
			continue
		}
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(a.Data)), nil }
		if err := c.PutBlob(ctx, a.Digest, a.Size, open); err != nil {
			return it, err
		}
	}
	return it, nil
}

// held is the blobs whose bytes a client has, the oldest first to go.
type held struct {
	max int64

	mu    sync.Mutex // guards the fields below
	bytes int64
	byDig map[functions.Digest]*list.Element
	order *list.List // of functions.Attachment, oldest first
}

func newHeld(max int64) *held {
	return &held{max: max, byDig: map[functions.Digest]*list.Element{}, order: list.New()}
}

// put holds a. It reports false if a alone is too large.
func (h *held) put(a functions.Attachment) bool {
	if a.Size > h.max {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.byDig[a.Digest]; e != nil {
		h.order.MoveToBack(e)
		return true
	}
	h.byDig[a.Digest] = h.order.PushBack(a)
	for h.bytes += a.Size; h.bytes > h.max; {
		old := h.order.Remove(h.order.Front()).(functions.Attachment)
		delete(h.byDig, old.Digest)
		h.bytes -= old.Size
	}
	return true
}

func (h *held) get(d functions.Digest) (functions.Attachment, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.byDig[d]
	if e == nil {
		return functions.Attachment{}, false
	}
	return e.Value.(functions.Attachment), true
}
