package sandboxtest

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/sandboxtest/fixture"
)

// Config says what the suite runs and what it may expect.
type Config struct {
	// Driver makes a driver. Dir is an empty folder for its files.
	Driver func(t *testing.T, dir string) sandbox.Driver
	// Build makes the fixture's artifact and returns its file and a manifest for it. The suite calls it once and sets
	// limits, uses and sample in copies of the manifest.
	Build func(t *testing.T) (artifact string, m functions.Manifest)
	// Captured is true if the driver must capture the fixture's image.
	Captured bool
	// Generate is true if functions of this driver can use models.
	Generate bool
	// MemBytes is a memory limit under which the fixture starts and answers. Zero leaves out the test of the limit.
	MemBytes int64
	// Ahead is how many items of 64 KiB may be under way between the function and the sink: 0 for a driver that hands
	// over directly.
	Ahead int
	// LateLogs is true if log lines may still come when Serve has returned, up to Close.
	LateLogs bool
}

// suite is what the tests of one Run share.
type suite struct {
	Config
	driver   sandbox.Driver
	artifact string
	manifest functions.Manifest
}

// Run runs the suite.
func Run(t *testing.T, cfg Config) {
	before := usage()
	s := &suite{Config: cfg, driver: cfg.Driver(t, t.TempDir())}
	s.artifact, s.manifest = cfg.Build(t)
	s.manifest.Sample = encode(t, fixture.In{Do: fixture.Echo, Text: "sample"})

	// One image serves all tests but those that need limits of their own.
	code := s.load(t, nil)
	for _, test := range []struct {
		name string
		run  func(*testing.T, sandbox.Code)
	}{
		{"Echo", s.testEcho},
		{"EchoBlob", s.testEchoBlob},
		{"MissingBlob", s.testMissingBlob},
		{"Stream", s.testStream},
		{"BackPressure", s.testBackPressure},
		{"SinkFails", s.testSinkFails},
		{"Empty", s.testEmpty},
		{"NoInput", s.testNoInput},
		{"SourceFails", s.testSourceFails},
		{"Failures", s.testFailures},
		{"Cancel", s.testCancel},
		{"Close", s.testClose},
		{"Log", s.testLog},
		{"Undeclared", s.testUndeclared},
		{"Reset", s.testReset},
		{"ResetUnused", s.testResetUnused},
		{"Many", s.testMany},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, code) })
	}
	if err := code.Close(); err != nil {
		t.Errorf("close code: %v", err)
	}
	t.Run("Prepare", s.testPrepare)
	t.Run("TimeLimit", s.testTimeLimit)
	t.Run("TimeLeft", s.testTimeLeft)
	t.Run("TimeLimitOfReader", s.testTimeLimitOfReader)
	t.Run("OutputLimit", s.testOutputLimit)
	if s.MemBytes > 0 {
		t.Run("MemoryLimit", s.testMemoryLimit)
	}
	if s.Generate {
		t.Run("Generate", s.testGenerate)
	}
	before.check(t)
}

// load prepares the fixture with the manifest changed by edit, which may be nil, and loads it.
func (s *suite) load(t *testing.T, edit func(*functions.Manifest)) sandbox.Code {
	t.Helper()
	m := s.manifest
	if edit != nil {
		edit(&m)
	}
	img, err := s.driver.Prepare(t.Context(), &m, s.artifact)
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	if img.Version != m.Digest() {
		t.Errorf("image is of version %s, want %s", img.Version.Short(), m.Digest().Short())
	}
	if img.Captured != s.Captured {
		t.Errorf("image captured: %v (%s), want %v", img.Captured, img.Why, s.Captured)
	}
	if !img.Captured && img.Why == "" {
		t.Error("the image was not captured and does not say why")
	}
	code, err := s.driver.Load(t.Context(), img)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return code
}

// start returns a new instance that ends with the test.
func start(t *testing.T, code sandbox.Code) sandbox.Instance {
	t.Helper()
	inst, err := code.New(t.Context())
	if err != nil {
		t.Fatalf("new instance: %v", err)
	}
	t.Cleanup(func() {
		if err := inst.Close(); err != nil {
			t.Errorf("close instance: %v", err)
		}
	})
	return inst
}

// call serves one call on a new instance and returns what came out.
func call(t *testing.T, code sandbox.Code, host *host, in fixture.In, blobs ...functions.Attachment) ([]functions.Item, error) {
	t.Helper()
	return serve(t, t.Context(), start(t, code), host, in, blobs...)
}

func serve(t *testing.T, ctx context.Context, inst sandbox.Instance, host *host, in fixture.In, blobs ...functions.Attachment) ([]functions.Item, error) {
	t.Helper()
	var items []functions.Item
	err := inst.Serve(ctx, input(t, in, blobs...), functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		items = append(items, it)
		return nil
	}), host)
	return items, err
}

func input(t *testing.T, in fixture.In, blobs ...functions.Attachment) functions.Source {
	t.Helper()
	return functions.Items(functions.Item{Value: encode(t, in), Blobs: blobs})
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := value.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t *testing.T, it functions.Item) fixture.Out {
	t.Helper()
	var out fixture.Out
	if err := value.Decode(it.Value, &out); err != nil {
		t.Fatalf("decode %x: %v", it.Value, err)
	}
	return out
}

// scratchFile writes data to a file of the test and returns its path and digest.
func scratchFile(t *testing.T, data []byte) (string, functions.Digest) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "artifact")
	if err := os.WriteFile(path, data, 0o700); err != nil {
		t.Fatal(err)
	}
	return path, functions.DigestOf(data)
}
