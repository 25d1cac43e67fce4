package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/functions/wav"
)

// socketMessage is one message of a WebSocket's caller: exactly one field is set.
type socketMessage struct {
	Open      *openMessage      `json:"open"` // the first message, or none
	Item      *itemMessage      `json:"item"`
	Audio     *audioMessage     `json:"audio"` // the format of the binary messages that follow
	Interrupt *interruptMessage `json:"interrupt"`
	End       *struct{}         `json:"end"` // of the input

	samples []byte // a binary message: PCM, 16 bits, little endian
}

type openMessage struct {
	Observe []string      `json:"observe"`
	Audio   *audioMessage `json:"audio"`
	// Blobs is "inline" if items shall come with the bytes of their blobs.
	Blobs string `json:"blobs"`
	// TimeoutMs bounds the run.
	TimeoutMs int64 `json:"timeout_ms"`
}

// itemMessage is one item of the input. Without a turn it belongs to that of the one before.
type itemMessage struct {
	Value json.RawMessage `json:"value"`
	Turn  *uint64         `json:"turn"`
	Time  *time.Time      `json:"time"`
}

type audioMessage struct {
	SampleHz int     `json:"sample_hz"`
	Channels int     `json:"channels"`
	Turn     *uint64 `json:"turn"` // of the audio that follows
}

type interruptMessage struct {
	Turn uint64 `json:"turn"`
}

// audioEvent comes before the samples of an item.
type audioEvent struct {
	SampleHz int        `json:"sample_hz"`
	Channels int        `json:"channels"`
	Seq      uint64     `json:"seq"`
	Turn     uint64     `json:"turn"`
	Time     *time.Time `json:"time,omitempty"`
}

const (
	maxTimeoutMs = 9_999_999_999 // as in Connect's header
	// maxSampleHz and maxChannels are above what any browser records.
	maxSampleHz = 384_000
	maxChannels = 32
)

// errMessage marks an error of one message: the connection is whole.
var errMessage = errors.New("message")

type messageError struct{ err error }

func wrongMessage(err error) error           { return &messageError{err} }
func (e *messageError) Error() string        { return e.err.Error() }
func (e *messageError) Unwrap() error        { return e.err }
func (e *messageError) Is(target error) bool { return target == errMessage }

// parseSocketMessage reads a text message.
func parseSocketMessage(data []byte) (*socketMessage, error) {
	const remedy = "send exactly one of open, item, audio, interrupt, end, as in {\"item\":{\"value\":...}}"
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var m socketMessage
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("%w: a message can't be read: %v; %s", functions.ErrInvalid, err, remedy)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: a message goes on behind its end; %s", functions.ErrInvalid, remedy)
	}
	n := 0
	for _, set := range []bool{m.Open != nil, m.Item != nil, m.Audio != nil, m.Interrupt != nil, m.End != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return nil, fmt.Errorf("%w: a message of %d kinds; %s", functions.ErrInvalid, n, remedy)
	}
	return &m, nil
}

// pcmFormat is how the samples of binary messages are to be read. The zero value is not known yet.
type pcmFormat struct{ hz, channels int }

func newPCMFormat(hz, channels int) (pcmFormat, error) {
	if hz < 1 || hz > maxSampleHz || channels < 1 || channels > maxChannels {
		return pcmFormat{}, fmt.Errorf("%w: audio of %d Hz and %d channels; give sample_hz from 1 to %d and channels from 1 to %d",
			functions.ErrInvalid, hz, channels, maxSampleHz, maxChannels)
	}
	return pcmFormat{hz, channels}, nil
}

// item returns samples as audio.
func (f pcmFormat) item(samples []byte) (functions.Item, error) {
	if f.hz == 0 {
		return functions.Item{}, fmt.Errorf("%w: audio of an unknown format: send {\"audio\":{\"sample_hz\":16000,\"channels\":1}} before it", functions.ErrInvalid)
	}
	if frame := 2 * f.channels; len(samples)%frame != 0 {
		return functions.Item{}, fmt.Errorf("%w: %d bytes of audio are no whole samples of 16 bits in %d channels", functions.ErrInvalid, len(samples), f.channels)
	}
	file := append(wav.Header(f.hz, f.channels, int64(len(samples))), samples...)
	info, err := wav.Parse(file)
	if err != nil {
		return functions.Item{}, err
	}
	att := functions.Attach(wav.MediaType, file)
	b, err := value.Encode(functions.Audio{Blob: att.Blob, SampleHz: f.hz, Channels: f.channels, Dur: info.Dur})
	return functions.Item{Value: b, Blobs: []functions.Attachment{att}}, err
}
