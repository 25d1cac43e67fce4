package wav

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/google/go-cmp/cmp"
)

// file returns a file of n frames of rising samples.
func file(hz, channels, n int) []byte {
	b := Header(hz, channels, int64(n*channels*2))
	for i := range n * channels {
		b = binary.LittleEndian.AppendUint16(b, uint16(i))
	}
	return b
}

// chunk returns a chunk with the size that it is told, and its padding.
func chunk(id string, size uint32, body []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(id), size)
	b = append(b, body...)
	if len(body)%2 == 1 {
		b = append(b, 0)
	}
	return b
}

// riff puts chunks into a file whose outer size is right.
func riff(chunks ...[]byte) []byte {
	body := bytes.Join(chunks, nil)
	b := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(body)+4))
	return append(append(b, "WAVE"...), body...)
}

func format(code, channels uint16, hz uint32, sampleBits uint16, more ...byte) []byte {
	f := binary.LittleEndian.AppendUint16(nil, code)
	f = binary.LittleEndian.AppendUint16(f, channels)
	f = binary.LittleEndian.AppendUint32(f, hz)
	f = binary.LittleEndian.AppendUint32(f, hz*uint32(channels)*uint32(sampleBits)/8)
	f = binary.LittleEndian.AppendUint16(f, channels*sampleBits/8)
	f = binary.LittleEndian.AppendUint16(f, sampleBits)
	f = append(f, more...)
	return chunk("fmt ", uint32(len(f)), f)
}

func extensible(code uint16) []byte {
	more := []byte{22, 0, 16, 0, 4, 0, 0, 0}
	more = binary.LittleEndian.AppendUint16(more, code)
	return append(more, guidTail...)
}

func TestParse(t *testing.T) {
	samples := []byte{1, 0, 2, 0, 3, 0, 4, 0}
	mono := format(codePCM, 1, 16000, 16)
	outer := func(size uint32, b []byte) []byte {
		binary.LittleEndian.PutUint32(b[4:], size)
		return b
	}
	for name, tc := range map[string]struct {
		file []byte
		want Info
	}{
		"plain":              {file(16000, 1, 16000), Info{16000, 1, 16, time.Second, file(16000, 1, 16000)[44:]}},
		"stereo":             {riff(format(codePCM, 2, 8000, 16), chunk("data", 8, samples)), Info{8000, 2, 16, 250 * time.Microsecond, samples}},
		"extensible":         {riff(format(codeExtensible, 1, 16000, 16, extensible(codePCM)...), chunk("data", 8, samples)), Info{16000, 1, 16, 250 * time.Microsecond, samples}},
		"chunks before data": {riff(chunk("LIST", 3, []byte("abc")), mono, chunk("LIST", 5, []byte("abcde")), chunk("data", 8, samples)), Info{16000, 1, 16, 250 * time.Microsecond, samples}},
		"chunk after data":   {riff(mono, chunk("data", 8, samples), chunk("LIST", 4, []byte("abcd"))), Info{16000, 1, 16, 250 * time.Microsecond, samples}},
		"size unknown":       {outer(unknownLength, riff(mono, chunk("data", unknownLength, samples))), Info{16000, 1, 16, 250 * time.Microsecond, samples}},
		"size 0, streamed":   {outer(0, riff(mono, chunk("data", 0, samples))), Info{16000, 1, 16, 250 * time.Microsecond, samples}},
		"size 0, complete":   {riff(mono, chunk("data", 0, nil), chunk("LIST", 4, []byte("abcd"))), Info{16000, 1, 16, 0, []byte{}}},
		"size of sox's pipe": {outer(0x7FFFF024, riff(mono, chunk("data", 0x7FFFF000, samples))), Info{16000, 1, 16, 250 * time.Microsecond, samples}},
		"size of arecord's":  {outer(0x80000024, riff(mono, chunk("data", 0x80000000, samples))), Info{16000, 1, 16, 250 * time.Microsecond, samples}},
		"half a frame":       {riff(format(codePCM, 2, 8000, 16), chunk("data", 6, samples[:6])), Info{8000, 2, 16, 125 * time.Microsecond, samples[:4]}},
		"header alone":       {Header(16000, 1, 0), Info{16000, 1, 16, 0, []byte{}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(tc.file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, tc.want); diff != "" {
				t.Errorf("got- want+\n%s", diff)
			}
		})
	}
}

func TestParse_SaysWhatItGot(t *testing.T) {
	data := chunk("data", 4, make([]byte, 4))
	for name, tc := range map[string]struct {
		file []byte
		want string
	}{
		"empty":            {nil, "got 0 bytes"},
		"text":             {[]byte("hello, this is text"), `begin with "hello, this "`},
		"ogg":              {[]byte("OggS\x00\x02aaaaaaaaaa"), "got Ogg, 16 bytes"},
		"another riff":     {[]byte("RIFF\x00\x00\x00\x00AVI LIST"), "RIFF of another kind"},
		"float":            {riff(format(3, 2, 44100, 32), data), "format code 3 (float), 32 bits, 44100 Hz, 2 channels"},
		"extensible float": {riff(format(codeExtensible, 1, 48000, 32, extensible(3)...), data), "format code 3 (float), 32 bits, 48000 Hz, 1 channels"},
		"extensible, cut":  {riff(format(codeExtensible, 1, 48000, 16), data), "format code 65534 (extensible)"},
		"24 bits":          {riff(format(codePCM, 1, 48000, 24), data), "format code 1 (PCM), 24 bits, 48000 Hz, 1 channels"},
		"unknown code":     {riff(format(0x1234, 1, 8000, 16), data), "format code 4660 (unknown)"},
		"no channels":      {riff(format(codePCM, 0, 8000, 16), data), "0 channels"},
		"no rate":          {riff(format(codePCM, 1, 0, 16), data), "0 Hz"},
		"absurd rate":      {riff(format(codePCM, 1, 4_000_000_000, 16), data), "4000000000 Hz"},
		"short format":     {riff(chunk("fmt ", 4, make([]byte, 4)), data), "the format chunk has 4 bytes"},
		"cut format":       {riff(chunk("fmt ", 400, make([]byte, 16))), "ends in its header"},
		"no format":        {riff(data), "before the format"},
		"no data":          {riff(format(codePCM, 1, 8000, 16)), "no data chunk"},
		"cut data":         {riff(format(codePCM, 1, 8000, 16), chunk("data", 4000, make([]byte, 8))), "cut off: its data chunk says 4000 bytes, but 8 are there"},
		"cut by one":       {file(8000, 1, 4)[:51], "says 8 bytes, but 7 are there"},
		"below a stream's": {riff(format(codePCM, 1, 8000, 16), chunk("data", 0x7FFFEFFF, nil)), "says 2147479551 bytes, but 0 are there"},
		"cut chunk":        {riff(format(codePCM, 1, 8000, 16), chunk("LIST", 4000, []byte("ab"))), "no data chunk"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(tc.file)
			if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an invalid error with %q", err, tc.want)
			}
		})
	}
}

func TestHeader_IsTheUsualOne(t *testing.T) {
	want := "RIFF\x2e\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x02\x00\x44\xac\x00\x00\x10\xb1\x02\x00\x04\x00\x10\x00data\x0a\x00\x00\x00"
	if got := string(Header(44100, 2, 10)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, n := range []int64{-1, unknownLength - 43, 1 << 40} {
		h := Header(16000, 1, n)
		if size := binary.LittleEndian.Uint32(h[40:]); size != unknownLength {
			t.Errorf("Header of %d bytes: data size is %d, want that of a streamed file", n, size)
		}
	}
}

func TestJoin(t *testing.T) {
	a, b := file(16000, 1, 3), file(16000, 1, 5)
	got, err := Join([][]byte{a, b})
	if err != nil {
		t.Fatal(err)
	}
	want := append(Header(16000, 1, 16), append(bytes.Clone(a[44:]), b[44:]...)...)
	if !bytes.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJoin_Refuses(t *testing.T) {
	big := append(Header(16000, 1, MaxJoinBytes/2+2), make([]byte, MaxJoinBytes/2+2)...)
	for name, tc := range map[string]struct {
		parts [][]byte
		is    error
		want  string
	}{
		"nothing":         {nil, functions.ErrInvalid, "no parts"},
		"other rates":     {[][]byte{file(16000, 1, 2), file(8000, 1, 2)}, functions.ErrInvalid, "part 1 has 8000 Hz and 1 channels, part 0 has 16000 Hz"},
		"other channels":  {[][]byte{file(16000, 1, 2), file(16000, 2, 2)}, functions.ErrInvalid, "part 1 has 16000 Hz and 2 channels"},
		"not a wav":       {[][]byte{file(16000, 1, 2), []byte("hello")}, functions.ErrInvalid, "part 1: "},
		"more than 64 MB": {[][]byte{big, big}, functions.ErrOutputLimit, "64 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Join(tc.parts)
			if !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %v with %q", err, tc.is, tc.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(file(16000, 1, 4))
	f.Add(riff(format(codeExtensible, 2, 16000, 16, extensible(codePCM)...), chunk("data", 0, []byte{1, 2, 3})))
	f.Add([]byte("RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := Parse(b)
		if err != nil {
			if !errors.Is(err, functions.ErrInvalid) {
				t.Fatalf("error %v is not invalid", err)
			}
			return
		}
		if len(info.Data)%(info.Channels*2) != 0 || info.Dur < 0 || len(info.Data) > len(b) {
			t.Fatalf("impossible: %+v of %d bytes", info, len(b))
		}
		again, err := Parse(append(Header(info.SampleHz, info.Channels, int64(len(info.Data))), info.Data...))
		if err != nil || cmp.Diff(again, info) != "" {
			t.Fatalf("written again: %v, %s", err, cmp.Diff(again, info))
		}
	})
}

func ExampleParse() {
	info, err := Parse(append(Header(16000, 1, 32000), make([]byte, 32000)...))
	fmt.Println(info.SampleHz, info.Channels, info.Dur, err)
	// Output: 16000 1 1s <nil>
}
