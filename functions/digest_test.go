package functions_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/catenary-run/catenary/functions"
)

const emptyHex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestDigest(t *testing.T) {
	d := functions.DigestOf(nil)
	if d != "sha256:"+emptyHex || d.Hex() != emptyHex || d.Short() != emptyHex[:12] || functions.Digest("").Short() != "" {
		t.Errorf("got %s, %s, %s", d, d.Hex(), d.Short())
	}
	got, n, err := functions.DigestFrom(strings.NewReader("hello"))
	if want := functions.DigestOf([]byte("hello")); got != want || n != 5 || err != nil {
		t.Errorf("got %s, %d, %v; want %s", got, n, err, want)
	}
	if _, _, err := functions.DigestFrom(iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want the reader's error", err)
	}
	a := functions.Attach("text/plain", []byte("hello"))
	if want := (functions.Blob{Digest: got, Type: "text/plain", Size: 5}); a.Blob != want {
		t.Errorf("got %v, want %v", a.Blob, want)
	}
}

func TestParseDigest(t *testing.T) {
	for _, s := range []string{emptyHex, "sha256:" + emptyHex} {
		if d, err := functions.ParseDigest(s); err != nil || d != "sha256:"+emptyHex {
			t.Errorf("%s: got %s, %v", s, d, err)
		}
	}
	for name, s := range map[string]string{
		"empty": "", "prefix alone": "sha256:", "short": emptyHex[1:], "long": emptyHex + "0", "upper case": strings.ToUpper(emptyHex),
		"other hash": "sha512:" + emptyHex, "twice": "sha256:sha256:" + emptyHex, "path": "sha256:../../../../../../../../../../../../../../../../../../etc/passwd0000000000",
		"spaces": " " + emptyHex[1:], "endless": strings.Repeat("0", 1<<20),
	} {
		d, err := functions.ParseDigest(s)
		if !errors.Is(err, functions.ErrInvalid) || d != "" || len(err.Error()) > 300 {
			t.Errorf("%s: got %s, %.300v", name, d, err)
		}
	}
}

func FuzzParseDigest(f *testing.F) {
	f.Add("sha256:" + emptyHex)
	f.Add("sha256:zz")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := functions.ParseDigest(s)
		if err != nil {
			return
		}
		if again, err := functions.ParseDigest(d.Hex()); err != nil || again != d || strings.ContainsAny(d.Hex(), "/.\\:") {
			t.Fatalf("%q became %q, then %q, %v", s, d, again, err)
		}
	})
}
