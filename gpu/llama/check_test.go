package llama

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/functions"
)

func TestCheck(t *testing.T) {
	folder := func(names ...string) string {
		dir := t.TempDir()
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	ours := []string{"libllama." + Release + suffix(), "libggml." + Release + suffix(), "libggml-base" + suffix()}
	if err := Check(folder(ours...)); err != nil {
		t.Errorf("a folder with the libraries: %v", err)
	}
	for name, tc := range map[string]struct{ dir, want string }{
		"nothing given":   {"", "no folder of libllama is given"},
		"no such folder":  {filepath.Join(t.TempDir(), "nope"), "can't be read"},
		"no library":      {folder("README"), "holds no libllama"},
		"another release": {folder("libllama.b1" + suffix()), "holds llama.cpp b1"},
		"half of it":      {folder(ours[0]), "lacks libggml"},
	} {
		if err := Check(tc.dir); !errors.Is(err, functions.ErrNoDevice) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "--llama-lib") {
			t.Errorf("%s: got %v, want no_device with %q and the remedy", name, err, tc.want)
		}
	}
}
