package wav

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// MediaType is the media type of what this package reads and writes.
const MediaType = "audio/wav"

// Info is what a file holds.
type Info struct {
	SampleHz int
	Channels int
	Bits     int // of one sample; always 16
	Dur      time.Duration
	Data     []byte // little-endian samples, whole frames, channels interleaved
}

// The format codes that are accepted, and those that people send by mistake.
const (
	codePCM        = 0x0001
	codeExtensible = 0xFFFE
)

var codeNames = map[uint16]string{
	codePCM: "PCM", 0x0002: "ADPCM", 0x0003: "float", 0x0006: "A-law", 0x0007: "mu-law", 0x0011: "IMA ADPCM", 0x0055: "MP3", codeExtensible: "extensible",
}

// guidTail is the part after the format code of a sub-format's GUID in a WAVE_FORMAT_EXTENSIBLE header.
var guidTail = []byte("\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71")

const (
	bits          = 16
	bytesASample  = bits / 8
	headerBytes   = 44
	unknownLength = 0xFFFFFFFF // the size that a streamed file gives
	// streamedFrom is the least size that means that the writer could not tell it: ffmpeg writes 0xFFFFFFFF into a pipe,
	// arecord about 0x80000000, sox 0x7FFFF000. A file that is so long is none that comes whole in one request.
	streamedFrom = 0x7FFFF000
	// maxSampleHz is above what any recorder makes (768 kHz), so that a broken header is seen as one.
	maxSampleHz = 1_000_000
)

// Parse reads a file. It returns an error wrapping [functions.ErrInvalid] that says what b is unless it is 16-bit PCM.
// A data chunk that does not know its length, as recorders write into a pipe, reaches to the end of the file: its size
// is 0, or 0x7FFFF000 and above. Any other that is longer than the file is an error: the file was cut off.
func Parse(b []byte) (Info, error) {
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return Info{}, fmt.Errorf("%w: not a wav file: %s", functions.ErrInvalid, describe(b))
	}
	var info Info
	for rest := b[12:]; len(rest) >= 8; {
		id, size := string(rest[:4]), uint64(binary.LittleEndian.Uint32(rest[4:8]))
		rest = rest[8:]
		switch id {
		case "fmt ":
			if size > uint64(len(rest)) {
				return Info{}, fmt.Errorf("%w: wav: the file ends in its header", functions.ErrInvalid)
			}
			var err error
			if info, err = parseFormat(rest[:size]); err != nil {
				return Info{}, err
			}
		case "data":
			if info.Bits == 0 {
				return Info{}, fmt.Errorf("%w: wav: the data comes before the format", functions.ErrInvalid)
			}
			// A size of 0 is that of a streamed file, unless the outer size says that the file is complete.
			complete := uint64(binary.LittleEndian.Uint32(b[4:8]))+8 == uint64(len(b))
			if size >= streamedFrom && size > uint64(len(rest)) || size == 0 && !complete {
				size = uint64(len(rest))
			}
			if size > uint64(len(rest)) {
				return Info{}, fmt.Errorf("%w: wav: the file is cut off: its data chunk says %d bytes, but %d are there; send the whole file",
					functions.ErrInvalid, size, len(rest))
			}
			frame := bytesASample * info.Channels
			frames := int(size) / frame
			info.Data = rest[:frames*frame]
			info.Dur = duration(frames, info.SampleHz)
			return info, nil
		}
		size += size & 1 // chunks begin at even offsets
		if size > uint64(len(rest)) {
			break
		}
		rest = rest[size:]
	}
	return Info{}, fmt.Errorf("%w: wav: the file has no data chunk", functions.ErrInvalid)
}

// parseFormat reads a fmt chunk.
func parseFormat(f []byte) (Info, error) {
	if len(f) < 16 {
		return Info{}, fmt.Errorf("%w: wav: the format chunk has %d bytes, not 16 or more", functions.ErrInvalid, len(f))
	}
	code, rate := binary.LittleEndian.Uint16(f), binary.LittleEndian.Uint32(f[4:])
	channels, sampleBits := binary.LittleEndian.Uint16(f[2:]), binary.LittleEndian.Uint16(f[14:])
	if code == codeExtensible && len(f) >= 40 && bytes.Equal(f[26:40], guidTail) {
		code = binary.LittleEndian.Uint16(f[24:])
	}
	if code != codePCM || sampleBits != bits || channels == 0 || rate == 0 || rate > maxSampleHz {
		name := codeNames[code]
		if name == "" {
			name = "unknown"
		}
		return Info{}, fmt.Errorf("%w: wav: got format code %d (%s), %d bits, %d Hz, %d channels; need 16-bit PCM (format code 1) of 1 Hz to %d Hz and a channel or more",
			functions.ErrInvalid, code, name, sampleBits, rate, channels, maxSampleHz)
	}
	return Info{SampleHz: int(rate), Channels: int(channels), Bits: bits}, nil
}

// duration is frames/rate seconds, without overflow.
func duration(frames, rate int) time.Duration {
	whole, rest := frames/rate, frames%rate
	return time.Duration(whole)*time.Second + time.Duration(rest)*time.Second/time.Duration(rate)
}

// describe says in a few words what b seems to be.
func describe(b []byte) string {
	for _, k := range []struct{ magic, name string }{
		{"RIFX", "big-endian RIFX"}, {"RF64", "RF64"}, {"RIFF", "RIFF of another kind"}, {"OggS", "Ogg"}, {"fLaC", "FLAC"}, {"ID3", "MP3"},
		{"\xff\xfb", "MP3"}, {"\x1aE\xdf\xa3", "WebM or Matroska"}, {"caff", "CAF"}, {"FORM", "AIFF"},
	} {
		if bytes.HasPrefix(b, []byte(k.magic)) {
			return fmt.Sprintf("got %s, %d bytes", k.name, len(b))
		}
	}
	return fmt.Sprintf("got %d bytes that begin with %q", len(b), b[:min(len(b), 12)])
}

// Header returns the 44 bytes that come before dataBytes bytes of 16-bit samples. With a negative count, or one that
// the format can't express, it is the header of a streamed file. It panics unless rate and channels are positive.
func Header(sampleHz, channels int, dataBytes int64) []byte {
	if sampleHz <= 0 || sampleHz > maxSampleHz || channels <= 0 || channels > 0xFFFF {
		panic(fmt.Sprintf("wav: Header(%d Hz, %d channels)", sampleHz, channels))
	}
	riff, data := uint32(unknownLength), uint32(unknownLength)
	if dataBytes >= 0 && dataBytes <= unknownLength-headerBytes {
		riff, data = uint32(dataBytes)+headerBytes-8, uint32(dataBytes)
	}
	le := binary.LittleEndian
	h := append(make([]byte, 0, headerBytes), "RIFF"...)
	h = le.AppendUint32(h, riff)
	h = append(h, "WAVEfmt "...)
	h = le.AppendUint32(h, 16)
	h = le.AppendUint16(h, codePCM)
	h = le.AppendUint16(h, uint16(channels))
	h = le.AppendUint32(h, uint32(sampleHz))
	h = le.AppendUint32(h, uint32(sampleHz*channels*bytesASample))
	h = le.AppendUint16(h, uint16(channels*bytesASample))
	h = le.AppendUint16(h, bits)
	h = append(h, "data"...)
	return le.AppendUint32(h, data)
}
