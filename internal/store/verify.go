package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/catenary-run/catenary/functions"
)

// verifier hashes what passes through it and knows what the sum must be.
type verifier struct {
	want functions.Digest
	hash hash.Hash
}

func newVerifier(want functions.Digest) *verifier { return &verifier{want, sha256.New()} }

func (v *verifier) Write(p []byte) (int, error) { return v.hash.Write(p) }

func (v *verifier) sum() functions.Digest {
	return functions.Digest("sha256:" + hex.EncodeToString(v.hash.Sum(nil)))
}

// checkSent returns an error wrapping [functions.ErrInvalid] if a sender's bytes are not what it said.
func (v *verifier) checkSent() error {
	if got := v.sum(); got != v.want {
		return fmt.Errorf("%w: blob %s: the bytes sent have digest %s; nothing was kept", functions.ErrInvalid, v.want, got)
	}
	return nil
}

// verifyingReader yields a stored blob whose bytes are those of its digest. It holds the last byte back until it knows
// that: whoever got all bytes got the right ones.
type verifyingReader struct {
	io.ReadCloser
	verifier *verifier
	place    string

	held [1]byte
	has  bool  // held holds a byte
	err  error // that ended the reading
}

func newVerifyingReader(r io.ReadCloser, want functions.Digest, place string) *verifyingReader {
	return &verifyingReader{ReadCloser: r, verifier: newVerifier(want), place: place}
}

func (r *verifyingReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.err == nil {
		n, err := r.ReadCloser.Read(p)
		r.verifier.hash.Write(p[:n])
		if r.err = err; err == io.EOF {
			r.err = r.checked()
		}
		if n == 0 {
			continue
		}
		// What was held goes out, and the last byte is held instead: as many bytes as came in, but the first time.
		last := p[n-1]
		copy(p[1:n], p[:n-1])
		p[0] = r.held[0]
		had := r.has
		r.held[0], r.has = last, true
		if had {
			return n, nil
		}
		if n > 1 {
			copy(p, p[1:n])
			return n - 1, nil
		}
	}
	if r.err == io.EOF && r.has {
		r.has = false
		p[0] = r.held[0]
		return 1, nil
	}
	return 0, r.err
}

// checked returns io.EOF if all that was read is right.
func (r *verifyingReader) checked() error {
	if got := r.verifier.sum(); got != r.verifier.want {
		return errDamaged(r.verifier.want, got, r.place)
	}
	return io.EOF
}

func errDamaged(want, got functions.Digest, place string) error {
	return fmt.Errorf("blob %s is damaged: its bytes have digest %s; delete %s and deploy again", want, got, place)
}
