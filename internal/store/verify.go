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

// verifyingReader yields a stored blob and turns its end into an error if the bytes are not those of its digest.
type verifyingReader struct {
	io.ReadCloser
	verifier *verifier
	place    string
}

func (r *verifyingReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.verifier.hash.Write(p[:n])
	if err == io.EOF {
		if got := r.verifier.sum(); got != r.verifier.want {
			return n, fmt.Errorf("blob %s is damaged: its bytes have digest %s; delete %s and deploy again", r.verifier.want, got, r.place)
		}
	}
	return n, err
}
