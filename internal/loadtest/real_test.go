package loadtest

import (
	"context"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu"
	"github.com/catenary-run/catenary/internal/testkit"
)

// line is what passes between the plugin relay and the guest chat.
type line struct {
	Text string `json:"text"`
	Do   string `json:"do"`
}

// TestStreams_PluginAndModel runs twenty streams at once through a plugin, and a guest that asks the real model, which
// has fewer slots. They fare as those of TestStreams do, and the plugin may die, too. Every answer is that of the model
// when it is asked alone; and afterwards nothing is held that was not held before, no process either.
func TestStreams_PluginAndModel(t *testing.T) {
	const streams = 20
	models := tinyModel(t)
	catenary := testkit.Catenary(t)
	engine := gpu.New(gpu.Config{
		Command: func() *exec.Cmd { return exec.Command(catenary, "worker") },
		Dir:     t.TempDir(), LlamaLib: testkit.LlamaLib(t), Models: models,
	})
	run(t, engine.Run)
	c := config()
	c.IdleAfter = time.Second // then the processes of the plugin go
	// Those with a deadline find every process busy: they wait in the queue, perhaps for longer than they may.
	c.MaxPluginSessions = streams - streams/int(fates)
	n := newNode(t, parts{
		port: streamOf[line](), guests: []string{"chat"}, plugins: []string{"relay"}, llm: &models.model, engine: engine, config: c,
	})
	p := n.plan(t, "relay", "chat")
	tr := traffic[line]{patience: time.Second / 2, spoil: spoil, foreseen: functions.ErrQueueFull} // of the model's queue
	for turn, question := range [turns]string{
		"tell me a story about a brave owl", "what is the capital of france", "tell me a story about a fox", "what is two plus three",
	} {
		tr.questions[turn] = line{Text: question}
		tr.answers[turn] = alone(t, engine, models.model.Ref(), question)
	}
	asleep := func() bool {
		for _, s := range n.pools.Status() {
			if s.Instances > 0 {
				return false
			}
		}
		return true
	}
	tr.single(t, n, p) // what is made once is there
	testkit.Eventually(t, "the functions sleep", asleep)
	testkit.Eventually(t, "the model's worker is the only process", func() bool { return held(t).processes == 1 })
	before := held(t)
	for round := range soak(1, 5) {
		tr.load(t, n, p, streams, uint64(round))
		for _, s := range engine.Status() {
			if s.Leases+s.Queued+s.Sessions > 0 {
				t.Errorf("of the model are left: %d leases, %d calls in the queue, %d sessions", s.Leases, s.Queued, s.Sessions)
			}
		}
		testkit.Eventually(t, "the functions sleep", asleep)
		nothingMore(t, before)
	}
}

// spoil makes the plugin or the guest fail, or ends the plugin's process.
func spoil(random *rand.Rand, v line) (line, error) {
	ways := []struct {
		do  string
		err error
	}{
		{"plugin fails", functions.ErrFunction}, {"plugin dies", functions.ErrTrap}, {"guest fails", functions.ErrFunction},
	}
	way := ways[random.IntN(len(ways))]
	v.Do = way.do
	return v, way.err
}

// alone returns the answer to a question as the guest gives it, when nobody else asks.
func alone(t *testing.T, engine *gpu.Runtime, llm functions.Ref, question string) (answer []line) {
	t.Helper()
	tokens, err := engine.Generate(t.Context(), llm, functions.Generation{
		Messages: []functions.Message{{Role: "user", Content: question}}, MaxTokens: 12, // as the guest does
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tokens.Close()
	for {
		token, err := tokens.Recv(t.Context())
		if err == io.EOF && len(answer) > 0 {
			return answer
		}
		if err != nil {
			t.Fatalf("after %v: %v", answer, err)
		}
		answer = append(answer, line{Text: token.Text})
	}
}

// tiny is the source of one model.
type tiny struct {
	model functions.Model
	path  string
}

func tinyModel(t *testing.T) *tiny {
	return &tiny{
		model: functions.Model{Name: "llm", Engine: "llama", File: functions.DigestOf([]byte("tiny")), Context: 256},
		path:  filepath.Join(testkit.Root(t), "examples", "voice", "model", "tiny-q8.gguf"),
	}
}

func (s *tiny) Model(context.Context, functions.Ref) (*functions.Model, error) { return &s.model, nil }
func (s *tiny) ModelFile(context.Context, *functions.Model) (string, error)    { return s.path, nil }
