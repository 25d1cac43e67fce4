package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/functions/wav"
)

// answer turns the items of a run into the body of a plain reply. Nothing is written before the first item of a
// streamed reply, or the end of another: until then an error can still have its own status.
type answer interface {
	item(it functions.Item) error
	// end is called once after the last item of a run that went well.
	end() error
	// begun reports whether bytes have been sent.
	begun() bool
}

// newAnswer picks the form of the reply by the type of the output.
func (s *Server) newAnswer(w http.ResponseWriter, line *line, out functions.Port) answer {
	text := isText(out.Schema)
	switch {
	case out.Schema.Format == functions.FormatAudio:
		return &audioAnswer{w: w, schema: out.Schema, left: s.cfg.MaxItem}
	case out.Stream && text:
		return &streamAnswer{w: w, line: line, schema: out.Schema, mediaType: "text/plain; charset=utf-8", encode: toText}
	case out.Stream:
		return &streamAnswer{w: w, line: line, schema: out.Schema, mediaType: "application/x-ndjson", encode: toLine}
	case text:
		return &wholeAnswer{w: w, schema: out.Schema, mediaType: "text/plain; charset=utf-8", encode: toText}
	default:
		return &wholeAnswer{w: w, schema: out.Schema, mediaType: "application/json", encode: toLine}
	}
}

func toText(s *functions.Schema, v []byte) ([]byte, error) {
	if s.Nullable {
		var text *string
		if err := value.Decode(v, &text); err != nil || text == nil {
			return nil, err
		}
		return []byte(*text), nil
	}
	var text string
	err := value.Decode(v, &text)
	return []byte(text), err
}

func toLine(s *functions.Schema, v []byte) ([]byte, error) {
	b, err := value.ToJSON(s, v)
	return append(b, '\n'), err
}

type encoder func(s *functions.Schema, v []byte) ([]byte, error)

// wholeAnswer is one value, sent when the run has ended well.
type wholeAnswer struct {
	w         http.ResponseWriter
	schema    *functions.Schema
	mediaType string
	encode    encoder
	body      []byte
	sent      bool
}

func (a *wholeAnswer) item(it functions.Item) (err error) {
	a.body, err = a.encode(a.schema, it.Value)
	return err
}

func (a *wholeAnswer) end() error {
	a.sent = true
	return send(a.w, a.mediaType, a.body)
}

func (a *wholeAnswer) begun() bool { return a.sent }

// streamAnswer sends every item as it comes.
type streamAnswer struct {
	w         http.ResponseWriter
	line      *line
	schema    *functions.Schema
	mediaType string
	encode    encoder
	sent      bool
}

func (a *streamAnswer) item(it functions.Item) error {
	b, err := a.encode(a.schema, it.Value)
	if err != nil {
		return err
	}
	a.line.writes()
	a.begin()
	if _, err := a.w.Write(b); err != nil {
		return err
	}
	return http.NewResponseController(a.w).Flush()
}

func (a *streamAnswer) begin() {
	if !a.sent {
		setType(a.w, a.mediaType)
		a.sent = true
	}
}

func (a *streamAnswer) end() error {
	a.begin() // a stream of nothing is an empty body
	return nil
}

func (a *streamAnswer) begun() bool { return a.sent }

// audioAnswer joins all parts into one file, sent when the run has ended well: its header tells the length.
type audioAnswer struct {
	w      http.ResponseWriter
	schema *functions.Schema
	left   int64
	parts  [][]byte
	sent   bool
}

func (a *audioAnswer) item(it functions.Item) error {
	part, err := audioOf(a.schema, it)
	if err != nil || part == nil {
		return err
	}
	if a.left -= int64(len(part)); a.left < 0 {
		return fmt.Errorf("%w: the answer's audio is larger than one reply may be; use Stream", functions.ErrOutputLimit)
	}
	a.parts = append(a.parts, part)
	return nil
}

func (a *audioAnswer) end() error {
	if len(a.parts) == 0 { // a stream without items has no rate, so there is no file of it
		a.w.WriteHeader(http.StatusNoContent)
		a.sent = true
		return nil
	}
	file := a.parts[0]
	if info, err := wav.Parse(file); len(a.parts) > 1 || err != nil || !wholeFile(file, info) {
		if file, err = wav.Join(a.parts); errors.Is(err, functions.ErrInvalid) {
			return fmt.Errorf("answer: %w: %s", functions.ErrFunction, err) // not the caller's fault
		} else if err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	a.sent = true
	return send(a.w, wav.MediaType, file)
}

// wholeFile reports whether the header of a file is the one that Join would write.
func wholeFile(file []byte, info wav.Info) bool {
	return bytes.HasPrefix(file, wav.Header(info.SampleHz, info.Channels, int64(len(info.Data))))
}

func (a *audioAnswer) begun() bool { return a.sent }

// audioOf returns the bytes of the audio that the item is, or nil for a null.
func audioOf(s *functions.Schema, it functions.Item) ([]byte, error) {
	refs, err := value.Blobs(s, it.Value)
	if err != nil || len(refs) == 0 {
		return nil, err
	}
	i := slices.IndexFunc(it.Blobs, func(a functions.Attachment) bool { return a.Digest == refs[0].Digest })
	if i < 0 {
		return nil, fmt.Errorf("answer: blob %s did not come with its item", refs[0].Digest)
	}
	return it.Blobs[i].Data, nil
}

func send(w http.ResponseWriter, mediaType string, body []byte) error {
	setType(w, mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err := w.Write(body)
	return err
}

// setType names the type of a body so that no browser guesses another.
func setType(w http.ResponseWriter, mediaType string) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

// errGone is the cause of a run whose caller takes no more.
func errGone(err error) error { return fmt.Errorf("%w: the caller is gone: %w", context.Canceled, err) }

// isText reports whether values of s are plain texts.
func isText(s *functions.Schema) bool {
	name, ok := s.TextProperty()
	return ok && name == ""
}
