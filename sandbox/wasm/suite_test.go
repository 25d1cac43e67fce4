package wasm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/sandboxtest"
	"github.com/catenary-run/catenary/sandbox/sandboxtest/fixture"
	"github.com/catenary-run/catenary/sdk"
)

// buildGuest builds a guest of testdata and returns its file and a manifest without a name.
func buildGuest(t testing.TB, dir string) (string, functions.Manifest) {
	t.Helper()
	out := build(t, dir+".wasm", func(out string) {
		testkit.GoBuildWASM(t, filepath.Join("sandbox/wasm/testdata", dir), out)
	})
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return out, functions.Manifest{Kind: functions.KindWASM, Artifact: functions.DigestOf(b)}
}

// contractOf fills in what a manifest takes from a function's Go types.
func contractOf[I, O any](t testing.TB, m *functions.Manifest, f sdk.Func[I, O]) {
	t.Helper()
	d, err := f.Describe()
	if err != nil {
		t.Fatal(err)
	}
	m.Name, m.In, m.Out = d.Name, d.In, d.Out
}

func TestDriver_Conforms(t *testing.T) {
	sandboxtest.Run(t, sandboxtest.Config{
		Driver: func(t *testing.T, dir string) sandbox.Driver {
			return goDriverIn(t, dir, nil)
		},
		Build: func(t *testing.T) (string, functions.Manifest) {
			artifact, m := buildGuest(t, "fixture")
			contractOf(t, &m, fixture.Func)
			return artifact, m
		},
		Captured: true,
		Generate: true,
		MemBytes: 64 << 20,
	})
}

func TestDriver_ConformsInStreams(t *testing.T) {
	sandboxtest.RunStreams(t, sandboxtest.StreamConfig{
		Driver: func(t *testing.T, dir string) sandbox.Driver { return goDriverIn(t, dir, nil) },
		Build: func(t *testing.T) (string, functions.Manifest) {
			artifact, m := buildGuest(t, "duplexfixture")
			contractOf(t, &m, fixture.Duplex)
			return artifact, m
		},
		Generate: true,
	})
}
