package functions

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// Digest names bytes by their hash: "sha256:" and 64 lower-case hex digits. The zero value names nothing.
type Digest string

const digestPrefix = "sha256:"

// DigestOf returns the digest of b.
func DigestOf(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest(digestPrefix + hex.EncodeToString(sum[:]))
}

// DigestFrom reads r to its end and returns the digest of what it read and the count of bytes.
func DigestFrom(r io.Reader) (Digest, int64, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return "", n, err
	}
	return Digest(digestPrefix + hex.EncodeToString(h.Sum(nil))), n, nil
}

// ParseDigest checks the form of s, with or without its prefix. It returns an error wrapping [ErrInvalid] if s is not
// a digest.
func ParseDigest(s string) (Digest, error) {
	hexa := strings.TrimPrefix(s, digestPrefix)
	if len(hexa) != 2*sha256.Size || strings.Trim(hexa, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%w: digest %q is not sha256: and 64 lower-case hex digits", ErrInvalid, shorten(s))
	}
	return Digest(digestPrefix + hexa), nil
}

// Hex returns the digest without its prefix: safe as a file name once the digest is parsed.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), digestPrefix) }

// Short returns the first 12 hex digits, for people.
func (d Digest) Short() string { return d.Hex()[:min(12, len(d.Hex()))] }

func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
