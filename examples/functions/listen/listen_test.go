package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catenary-run/catenary/examples/functions/pocketsphinx"
	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk"
	"github.com/google/go-cmp/cmp"
)

const questions = "../../voice/questions"

// whole is the decoder of all tests for what has to be heard as a whole.
var whole = sync.OnceValues(func() (*pocketsphinx.Decoder, error) { return pocketsphinx.Open(pocketsphinx.ModelDir) })

func newListener(t *testing.T) *listener {
	t.Helper()
	d, err := whole()
	if err != nil {
		t.Fatal(err)
	}
	return &listener{whole: d}
}

// env is what a session has around it: its blobs and its turns.
type env struct {
	turns *functions.Turns
	blobs map[functions.Digest][]byte
}

func (e env) Turns() *functions.Turns { return e.turns }
func (env) Log(slog.Level, string)    {}

func (e env) ReadBlob(_ context.Context, b functions.Blob) ([]byte, error) {
	return e.blobs[b.Digest], nil
}

func (env) WriteBlob(context.Context, string, []byte) (functions.Blob, error) {
	return functions.Blob{}, errors.New("it makes no blobs")
}

func (env) Generate(context.Context, string, functions.Generation) (functions.Tokens, error) {
	return nil, functions.ErrDenied
}

// part is an item of the input.
func (e env) part(t *testing.T, kind string, samples []int16, at time.Duration) functions.Item {
	t.Helper()
	file := wav.Header(16000, 1, int64(2*len(samples)))
	for _, v := range samples {
		file = binary.LittleEndian.AppendUint16(file, uint16(v))
	}
	b := functions.Attach(wav.MediaType, file)
	e.blobs[b.Digest] = file
	v, err := value.Encode(voice.Speech{Kind: kind, Audio: sdk.Audio{Blob: b.Blob, SampleHz: 16000, Channels: 1}, At: at})
	if err != nil {
		t.Fatal(err)
	}
	return functions.Item{Value: v, Time: time.Unix(100, 0).Add(at)}
}

// utterance returns the parts of one: 100 ms each.
func (e env) utterance(t *testing.T, samples []int16) (parts []functions.Item) {
	t.Helper()
	kind, at := voice.Onset, time.Duration(0)
	for piece := range slices.Chunk(samples, 1600) {
		parts = append(parts, e.part(t, kind, piece, at))
		kind, at = voice.Sound, at+100*time.Millisecond
	}
	return append(parts, e.part(t, voice.End, nil, at))
}

// heard is an item of the output.
type heard struct {
	voice.Heard
	turn uint64
	at   time.Duration
}

// session runs one; each item of the output is given to see as it comes.
func (l *listener) session(t *testing.T, e env, src functions.Source, see func(heard)) error {
	t.Helper()
	handle := sdk.NewDuplexHandler(value.Codec{}, voice.Listen, l.listen)
	return handle(sdk.WithEnv(t.Context(), e), src, functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		h := heard{turn: it.Turn, at: it.Time.Sub(time.Unix(100, 0))}
		if err := value.Decode(it.Value, &h.Heard); err != nil {
			return err
		}
		see(h)
		return nil
	}))
}

func newEnv() env {
	return env{turns: functions.NewTurns(), blobs: map[functions.Digest][]byte{}}
}

func recording(t *testing.T, name string) []int16 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(questions, name+".wav"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := wav.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	samples := make([]int16, len(info.Data)/2)
	for i := range samples {
		samples[i] = int16(binary.LittleEndian.Uint16(info.Data[2*i:]))
	}
	return samples
}

// wordErrors returns how many words have to be put in, taken out or changed to make what was said of what was heard.
func wordErrors(said, heard string) int {
	a, b := strings.Fields(said), strings.Fields(heard)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, w := range a {
		last := row[0]
		row[0] = i + 1
		for j, v := range b {
			change := last
			if w != v {
				change++
			}
			last = row[j+1]
			row[j+1] = min(change, last+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// TestListen_Questions asks the twenty questions in one session. Together the finals have no more errors than two words of a
// hundred beyond those of transcribe, and the session is as it should be: onset, partials with 300 ms between them, final.
func TestListen_Questions(t *testing.T) {
	l, e := newListener(t), newEnv()
	file, err := os.Open(filepath.Join(questions, "questions.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var said []string
	var items []functions.Item
	words, errorsWhole := 0, 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		columns := strings.Split(lines.Text(), "\t")
		samples := recording(t, columns[0])
		said = append(said, columns[1])
		words += len(strings.Fields(columns[1]))
		items = append(items, e.utterance(t, samples)...)
		as, err := l.whole.Hear(samples)
		if err != nil {
			t.Fatal(err)
		}
		errorsWhole += wordErrors(columns[1], as.Text)
	}
	var finals []heard
	var last heard
	partials := 0
	if err := l.session(t, e, functions.Items(items...), func(h heard) {
		switch h.Kind {
		case voice.Onset:
			if h.Text != "" || h.at != 0 {
				t.Errorf("onset %+v", h)
			}
			return // the next ones come while others are heard
		case voice.Partial:
			partials++
			if h.Text == "" || h.Confidence != 0 || last.Kind == voice.Partial && (last.turn != h.turn || last.Text == h.Text) {
				t.Errorf("partial %+v after %+v", h, last)
			}
		case voice.Final:
			finals = append(finals, h)
		}
		if int(h.turn) != len(finals) && h.Kind == voice.Partial || h.Kind == voice.Final && int(h.turn) != len(finals)-1 {
			t.Errorf("%+v is in the wrong turn", h)
		}
		last = h
	}); err != nil {
		t.Fatal(err)
	}
	if len(finals) != len(said) {
		t.Fatalf("%d finals for %d utterances", len(finals), len(said))
	}
	errorsLive := 0
	for i, f := range finals {
		if n := wordErrors(said[i], f.Text); n > 0 {
			errorsLive += n
			t.Logf("said %q, heard %q (%.2f)", said[i], f.Text, f.Confidence)
		}
		if f.Confidence < 0 || f.Confidence > 1 {
			t.Errorf("confidence %v", f.Confidence)
		}
	}
	t.Logf("%d words: %d errors, as a whole %d; %d partials", words, errorsLive, errorsWhole, partials)
	if errorsLive > errorsWhole+words*2/100 {
		t.Errorf("%d errors in %d words; as a whole %d", errorsLive, words, errorsWhole)
	}
	if partials < 2*len(said) {
		t.Errorf("%d partials for %d utterances", partials, len(said))
	}
}

// TestListen_FirstWords asks what the recogniser is unsure of at the beginning of a session: then it hears what
// transcribe hears.
func TestListen_FirstWords(t *testing.T) {
	for _, name := range []string{"q07", "q12", "m07"} {
		l, e := newListener(t), newEnv()
		samples := recording(t, name)
		want, err := l.whole.Hear(samples)
		if err != nil {
			t.Fatal(err)
		}
		var got heard
		if err := l.session(t, e, functions.Items(e.utterance(t, samples)...), func(h heard) { got = h }); err != nil {
			t.Fatal(err)
		}
		if got.Kind != voice.Final || got.Text != want.Text || got.Confidence < min(want.Confidence, sureFrom) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

// TestListen_OnsetAtOnce: an onset comes before anything more of the utterance has, and while the one before is heard.
func TestListen_OnsetAtOnce(t *testing.T) {
	l, e := newListener(t), newEnv()
	src := functions.NewStream(1000, 1<<30)
	send := func(items ...functions.Item) {
		for _, it := range items {
			if err := src.Send(t.Context(), it); err != nil {
				t.Error(err)
			}
		}
	}
	first, second := e.utterance(t, recording(t, "q09")), e.utterance(t, recording(t, "q19"))
	send(first[0])
	var got []heard
	err := l.session(t, e, src, func(h heard) {
		if h.Kind == voice.Partial {
			return
		}
		got = append(got, h)
		if len(got) == 1 { // the rest comes only now
			send(first[1:]...)
			send(second...)
			src.CloseSend(nil)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, h := range got {
		rows = append(rows, fmt.Sprint(h.Kind, " ", h.turn, " ", h.Text))
	}
	slices.Sort(rows) // the second onset and the first final come in any order
	want := []string{"final 0 what is the capital of france", "final 1 good morning", "onset 0 ", "onset 1 "}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Error(diff)
	}
}

// TestListen_TurnOver ends the first turn in the middle of its utterance: nothing more is heard of it, and the session
// goes on.
func TestListen_TurnOver(t *testing.T) {
	l, e := newListener(t), newEnv()
	first, second := e.utterance(t, recording(t, "q09")), e.utterance(t, recording(t, "q19"))
	src := functions.NewStream(1000, 1<<30)
	send := func(items ...functions.Item) {
		for _, it := range items {
			if err := src.Send(t.Context(), it); err != nil {
				t.Error(err)
			}
		}
	}
	send(first[:10]...) // no end
	var over bool
	var finals []heard
	if err := l.session(t, e, src, func(h heard) {
		switch {
		case h.Kind == voice.Final:
			finals = append(finals, h)
		case h.Kind == voice.Partial && !over:
			over = true
			e.turns.End(0)
			send(first[10:]...)
			send(second...)
			src.CloseSend(nil)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if len(finals) != 1 || finals[0].turn != 1 || finals[0].Text != "good morning" {
		t.Errorf("got %+v, want the final of turn 1 only", finals)
	}
}

// TestListen_Ends has the input end and fail in the middle of an utterance.
func TestListen_Ends(t *testing.T) {
	l, e := newListener(t), newEnv()
	parts := e.utterance(t, recording(t, "q19"))
	var last heard
	if err := l.session(t, e, functions.Items(parts[:len(parts)-1]...), func(h heard) { last = h }); err != nil {
		t.Fatal(err)
	}
	if last.Kind != voice.Final || last.Text != "good morning" {
		t.Errorf("an utterance without an end: %+v", last)
	}
	broke := errors.New("the microphone was unplugged")
	src := functions.NewStream(1000, 1<<30)
	for _, it := range parts[:5] {
		if err := src.Send(t.Context(), it); err != nil {
			t.Fatal(err)
		}
	}
	src.CloseSend(broke)
	if err := l.session(t, e, src, func(heard) {}); !errors.Is(err, broke) {
		t.Errorf("got %v, want the source's error", err)
	}
	if err := l.session(t, e, functions.Items(), func(heard) { t.Error("it heard something") }); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

func TestListen_Refuses(t *testing.T) {
	l, e := newListener(t), newEnv()
	silence := make([]int16, 1600)
	minute := make([]int16, 60*16000)
	onset := e.part(t, voice.Onset, silence, 0)
	for name, items := range map[string][]functions.Item{
		"audio without an onset": {e.part(t, voice.Sound, silence, 0)},
		"an end without one":     {e.part(t, voice.End, silence, 0)},
		"an onset in another":    {onset, onset},
		"no kind":                {onset, e.part(t, "", silence, 0)},
		"what goes on for ever":  {onset, e.part(t, voice.Sound, minute, 0), e.part(t, voice.Sound, minute, 0)},
	} {
		if err := l.session(t, e, functions.Items(items...), func(heard) {}); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("%s: got %v, want functions.ErrInvalid", name, err)
		}
	}
	if err := new(listener).session(t, e, functions.Items(), nil); err == nil {
		t.Error("it listens without a decoder")
	}
}
