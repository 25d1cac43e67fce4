package store

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/catenary-run/catenary/functions"
)

// TestVerifyingReader: whatever the sizes of reads, all bytes come if they are right, and not the last one if they are not.
func TestVerifyingReader(t *testing.T) {
	for _, size := range []int{0, 1, 2, 3, 100} {
		data := bytes.Repeat([]byte("abcdefg"), size)[:size]
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "a byte at a time": iotest.OneByteReader,
			"half": iotest.HalfReader, "the end with the data": iotest.DataErrReader,
		} {
			good := newVerifyingReader(io.NopCloser(wrap(bytes.NewReader(data))), functions.DigestOf(data), "here")
			if err := iotest.TestReader(readerOnly{good}, data); err != nil {
				t.Errorf("%s, %d bytes: %v", name, size, err)
			}
			bad := newVerifyingReader(io.NopCloser(wrap(bytes.NewReader(data))), functions.DigestOf([]byte("other")), "here")
			got, err := io.ReadAll(bad)
			if err == nil || len(got) != max(0, size-1) || !bytes.Equal(got, data[:len(got)]) {
				t.Errorf("%s, %d damaged bytes: got %d, %v", name, size, len(got), err)
			}
			broken := fmt.Errorf("broken")
			short := newVerifyingReader(io.NopCloser(io.MultiReader(wrap(bytes.NewReader(data)), iotest.ErrReader(broken))), functions.DigestOf(data), "here")
			if got, err := io.ReadAll(short); err != broken || len(got) > size {
				t.Errorf("%s, %d bytes that break off: got %d, %v", name, size, len(got), err)
			}
		}
	}
}

type readerOnly struct{ io.Reader }
