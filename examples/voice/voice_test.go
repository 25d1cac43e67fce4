package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/catenary-run/catenary/chains/specfile"
	"github.com/catenary-run/catenary/examples/voice/chain"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/internal/spoken"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sdk/client"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testkit.RemoveCatenary()
	os.Exit(code)
}

// TestVoice_GoAndYAMLAgree: the chain is written twice, and is one.
func TestVoice_GoAndYAMLAgree(t *testing.T) {
	text, err := os.ReadFile("voice.yaml")
	if err != nil {
		t.Fatal(err)
	}
	fromYAML, err := specfile.Parse("voice.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fromYAML.Hash(), chain.Voice.Spec().Hash(); got != want {
		t.Errorf("spec hash of voice.yaml %s, of chain.Voice %s\n%s\n%s", got, want, fromYAML.Canonical(), chain.Voice.Spec().Canonical())
	}
}

// serve starts a server with the example deployed.
func serve(t *testing.T, flags ...string) (*testkit.Server, *client.Client) {
	t.Helper()
	s := testkit.Serve(t, append(flags, "--data", t.TempDir(), "--llama-lib", testkit.LlamaLib(t))...)
	testkit.Run(t, 0, "build", "examples/voice")
	testkit.Run(t, 0, "deploy", "--server", s.URL, "examples/voice")
	c, err := client.New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func TestVoice(t *testing.T) {
	page := httptest.NewServer(http.FileServer(http.Dir("web")))
	defer page.Close()
	server, c := serve(t, "--origin", page.URL)
	t.Run("twenty questions", func(t *testing.T) { twentyQuestions(t, c) })
	t.Run("no speech never reaches the model", func(t *testing.T) { noSpeech(t, server, c) })
	t.Run("a wav by plain HTTP", func(t *testing.T) { plainHTTP(t, server, c) })
	t.Run("talk: twenty questions in one conversation", func(t *testing.T) { talkTwentyQuestions(t, c) })
	t.Run("talk: who speaks over an answer ends it", func(t *testing.T) { speakOver(t, server, c) })
	t.Run("talk: a caller who hangs up", func(t *testing.T) { hungUp(t, server, c) })
	t.Run("talk: in a browser", func(t *testing.T) { inBrowser(t, server, c, page.URL) })
	t.Run("talk: a page of another site", func(t *testing.T) { otherSite(t, server) })
}

// twentyQuestions drives real recognition, language model and speech, and holds them to what the issue of the voice
// example asks: at most 20 % word errors, 17 of 20 answers on the topic, 60 % of the spoken words understood.
func twentyQuestions(t *testing.T, c *client.Client) {
	questions, err := spoken.Questions("questions", "questions")
	if err != nil {
		t.Fatal(err)
	}
	if len(questions) != 20 {
		t.Fatalf("%d questions, want 20", len(questions))
	}
	var wrong, words, onTopic, kept, said int
	for _, q := range questions {
		speech, err := os.ReadFile(q.WAV)
		if err != nil {
			t.Fatal(err)
		}
		a, err := spoken.Ask(t.Context(), c, speech)
		if err != nil {
			t.Fatalf("%s: %v", q.ID, err)
		}
		e, n := spoken.WordErrors(q.Text, a.Heard.Text)
		wrong, words = wrong+e, words+n
		if a.OnTopic(q) {
			onTopic++
		}
		again, err := spoken.Listen(t.Context(), c, a.Speech)
		if err != nil {
			t.Fatalf("%s: listen: %v", q.ID, err)
		}
		k, m := spoken.Kept(a.Text(), again.Text)
		kept, said = kept+k, said+m
		t.Logf("%s %q heard %q (%.2f), %s: %q, heard again %d/%d", q.ID, q.Text, a.Heard.Text, a.Heard.Confidence, a.Step, a.Text(), k, m)
	}
	t.Logf("word errors %d of %d, on topic %d of %d, words kept %d of %d", wrong, words, onTopic, len(questions), kept, said)
	if wrong*100 > words*20 {
		t.Errorf("%d of %d words wrong, want at most 20 %%", wrong, words)
	}
	if onTopic < 17 {
		t.Errorf("%d answers on the topic, want at least 17", onTopic)
	}
	if kept*100 < said*60 {
		t.Errorf("%d of %d spoken words understood again, want at least 60 %%", kept, said)
	}
}

// noSpeech: silence, noise and chirps are answered by sorry. The step answer, which alone asks the model, does not run.
func noSpeech(t *testing.T, server *testkit.Server, c *client.Client) {
	second := make([]byte, 2*16000)
	noise := bytes.Clone(second)
	random := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(noise); i += 2 {
		binary.LittleEndian.PutUint16(noise[i:], uint16(int16(random.NormFloat64()*2000)))
	}
	swelling := bytes.Clone(noise)
	for i := 0; i < len(swelling); i += 2 {
		sample := float64(int16(binary.LittleEndian.Uint16(noise[i:])))
		binary.LittleEndian.PutUint16(swelling[i:], uint16(int16(sample*(1+math.Sin(2*math.Pi*4*float64(i/2)/16000)))))
	}
	chirps := bytes.Clone(second) // 200 Hz to 2 kHz, twice in the second
	var phase float64
	for i := 0; i < len(chirps); i += 2 {
		hz := 200 * math.Pow(10, math.Mod(float64(i/2)/8000, 1))
		phase += 2 * math.Pi * hz / 16000
		binary.LittleEndian.PutUint16(chirps[i:], uint16(int16(9000*math.Sin(phase))))
	}
	for name, pcm := range map[string][]byte{"silence": second, "noise": noise, "noise that swells": swelling, "chirps": chirps} {
		a, err := spoken.Ask(t.Context(), c, append(wav.Header(16000, 1, int64(len(pcm))), pcm...))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if a.Step != "sorry" || a.Heard.Confidence != 0 {
			t.Errorf("%s: %s answered %q, confidence %v", name, a.Step, a.Text(), a.Heard.Confidence)
		}
		if called, ok := a.Timings["answer"]; ok {
			t.Errorf("%s: the step that asks the model ran: %+v", name, called)
		}
	}
}

// plainHTTP is what curl does: a wav goes in, one wav with a right header comes out. It may have another rate and other
// channels than the recogniser takes.
func plainHTTP(t *testing.T, server *testkit.Server, _ *client.Client) {
	file, err := os.ReadFile(filepath.Join("questions", "q01.wav"))
	if err != nil {
		t.Fatal(err)
	}
	samples, err := spoken.Samples(file)
	if err != nil {
		t.Fatal(err)
	}
	var fast []byte // each sample three times, on the left and on the right
	for frame := range slices.Chunk(samples, 2) {
		fast = append(fast, slices.Repeat(frame, 6)...)
	}
	for name, speech := range map[string][]byte{
		"16 kHz in mono":   file,
		"48 kHz in stereo": append(wav.Header(48000, 2, int64(len(fast))), fast...),
	} {
		resp, err := http.Post(server.URL+"/chains/voice", wav.MediaType, bytes.NewReader(speech))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != wav.MediaType {
			t.Fatalf("%s: %s %s: %.200s", name, resp.Status, resp.Header.Get("Content-Type"), body)
		}
		info, err := wav.Parse(body)
		if err != nil {
			t.Fatal(err)
		}
		if header := wav.Header(info.SampleHz, info.Channels, int64(len(info.Data))); !bytes.HasPrefix(body, header) || len(body) != len(header)+len(info.Data) {
			t.Errorf("%s: the answer is not one wav with one header", name)
		}
		if info.Dur < 5*time.Second {
			t.Errorf("%s: the answer is %s long; a story takes longer", name, info.Dur)
		}
	}
}
