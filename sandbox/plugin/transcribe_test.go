//go:build linux

package plugin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/internal/testkit"
)

// transcript is the output of the voice example's transcribe.
type transcript struct {
	Text       string  `json:"text"`
	Confidence float64 `json:"confidence"`
}

// TestTranscribe runs the voice example's plugin, which opens a C library and loads a model of 40 MB when it starts.
func TestTranscribe(t *testing.T) {
	artifact := filepath.Join(t.TempDir(), "transcribe")
	testkit.GoBuild(t, "examples/functions/transcribe", artifact, nil)
	m := functions.Manifest{
		Name: "transcribe", Kind: functions.KindPlugin, Artifact: mustDigest(t, artifact),
		In:  functions.Port{Schema: functions.SchemaFor[functions.Audio]()},
		Out: functions.Port{Schema: functions.SchemaFor[transcript]()},
	}
	d := newDriver(t, t.TempDir(), nil)
	img, err := d.Prepare(t.Context(), &m, artifact)
	if err != nil {
		t.Fatal(err)
	}
	code, err := d.Load(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	inst := newInstance(t, code)
	transcribe := func(file []byte) (out transcript, err error) {
		t.Helper()
		sound := functions.Attach(wav.MediaType, file)
		in, err := value.Encode(functions.Audio{Blob: sound.Blob, SampleHz: 16_000, Channels: 1})
		if err != nil {
			t.Fatal(err)
		}
		err = inst.Serve(t.Context(), functions.Items(functions.Item{Value: in, Blobs: []functions.Attachment{sound}}),
			functions.SinkFunc(func(_ context.Context, it functions.Item) error { return value.Decode(it.Value, &out) }), newHost())
		return out, errors.Join(err, inst.Reset(t.Context()))
	}
	speech, err := os.ReadFile(filepath.Join(testkit.Root(t), "examples/voice/questions/q19.wav"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := transcribe(speech)
	if err != nil || first.Text != "good morning" || first.Confidence < 0.5 {
		t.Errorf("heard %+v, %v, want good morning", first, err)
	}
	silence := append(wav.Header(16_000, 1, 32_000), make([]byte, 32_000)...)
	if got, err := transcribe(silence); err != nil || got != (transcript{}) {
		t.Errorf("heard %+v, %v in silence", got, err)
	}
	if _, err := transcribe(append(wav.Header(44_100, 1, 2), 0, 0)); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), "44100 Hz") {
		t.Errorf("got %v, want functions.ErrInvalid that says 44100 Hz", err)
	}
	if again, err := transcribe(speech); err != nil || again != first {
		t.Errorf("heard %+v, %v, want %+v as before", again, err, first)
	}
}
