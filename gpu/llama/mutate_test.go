package llama

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/catenary-run/catenary/functions"
)

// TestDamagedFilesAreRefusedOrWork damages a few bytes at a time. A file that C aborts on would end this process.
func TestDamagedFilesAreRefusedOrWork(t *testing.T) {
	engine := testEngine(t)
	whole, err := os.ReadFile(tinyFile(t))
	if err != nil {
		t.Fatal(err)
	}
	// Metadata without the vocabulary, all of the header, and everything.
	regions := []int{1200, 48_000, len(whole)}
	refused := 0
	const files = 120
	for seed := range uint64(files) {
		r := rand.New(rand.NewPCG(seed, 1))
		damaged := bytes.Clone(whole)
		for range 1 + r.IntN(3) {
			at := r.IntN(regions[r.IntN(len(regions))])
			damaged[at] = []byte{0, byte(r.IntN(256)), damaged[at] ^ 1<<r.IntN(8)}[r.IntN(3)]
		}
		path := filepath.Join(t.TempDir(), "model.gguf")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		m, _, err := engine.Load(path, Options{})
		if err != nil {
			if !errors.Is(err, functions.ErrInvalid) && !errors.Is(err, functions.ErrMemoryLimit) {
				t.Errorf("seed %d: got %v, want ErrInvalid", seed, err)
			}
			refused++
			continue
		}
		for _, temperature := range []float64{0, 1} {
			req := ask("what is the capital of france")
			req.MaxTokens, req.Temperature = 3, temperature
			if err := run(m, req, func(functions.Token) {}); err != nil {
				t.Logf("seed %d: it loads, but: %v", seed, err)
			}
		}
		m.Close()
	}
	if refused == 0 || refused == files {
		t.Errorf("%d of %d damaged files were refused; the damage is too weak or too strong to show anything", refused, files)
	}
	t.Logf("%d of %d damaged files were refused", refused, files)
}
