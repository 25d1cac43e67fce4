package main

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/google/go-cmp/cmp"
)

func TestUtterance(t *testing.T) {
	file := func(hz, channels int, data []byte) []byte {
		return append(wav.Header(hz, channels, int64(len(data))), data...)
	}
	got, err := utterance(file(sampleHz, 1, []byte{1, 0, 0xff, 0xff, 0, 0x80}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int16{1, -1, -32768}, got); diff != "" {
		t.Error(diff)
	}
	for _, tt := range []struct {
		name string
		file []byte
		says string
	}{
		{"not a wav", []byte("OggS and more of that"), "Ogg"},
		{"nothing", nil, "0 bytes"},
		{"rate", file(44_100, 1, make([]byte, 8)), "44100 Hz with 1 channels"},
		{"stereo", file(sampleHz, 2, make([]byte, 8)), "16000 Hz with 2 channels"},
		{"too long", file(sampleHz, 1, make([]byte, 2*sampleHz*121)), "2m1s"},
		{"8 bits", eightBits(file(sampleHz, 1, make([]byte, 8))), "8 bits"},
	} {
		if _, err := utterance(tt.file); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want functions.ErrInvalid that says %q", tt.name, err, tt.says)
		}
	}
}

func eightBits(file []byte) []byte {
	binary.LittleEndian.PutUint16(file[34:], 8)
	return file
}
