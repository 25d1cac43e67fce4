package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/sdktest"
	"github.com/google/go-cmp/cmp"
)

// said is a sentence of the output.
type said struct {
	Turn uint64
	Text string
	At   int64
}

// model is the sdk.Env of a reply. Each word of an answer takes a second.
type model struct {
	turns   *functions.Turns
	answers map[string]string // by question; others fail

	mu    sync.Mutex // guards the fields below
	asked [][]functions.Message
	open  int // generations
}

func (m *model) Log(slog.Level, string)  {}
func (m *model) Turns() *functions.Turns { return m.turns }

func (m *model) ReadBlob(context.Context, functions.Blob) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

func (m *model) WriteBlob(context.Context, string, []byte) (functions.Blob, error) {
	return functions.Blob{}, errors.ErrUnsupported
}

func (m *model) Generate(_ context.Context, name string, req functions.Generation) (functions.Tokens, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, req.Messages)
	text, ok := m.answers[req.Messages[len(req.Messages)-1].Content]
	if !ok || name != "llm" || req.MaxTokens != maxTokens {
		return nil, functions.ErrUnavailable
	}
	m.open++
	return &tokens{m: m, texts: strings.SplitAfter(text, " ")}, nil
}

type tokens struct {
	m     *model
	texts []string
}

func (t *tokens) Recv(ctx context.Context) (functions.Token, error) {
	if len(t.texts) == 0 {
		return functions.Token{}, io.EOF
	}
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return functions.Token{}, context.Cause(ctx)
	}
	text := t.texts[0]
	t.texts = t.texts[1:]
	return functions.Token{Text: text}, nil
}

func (t *tokens) Close() error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.m.open--
	return nil
}

// talk is one call of reply.
type talk struct {
	model
	in   *functions.Stream
	got  []said // guarded by model.mu
	done chan struct{}
	err  error // of the call, once done is closed
}

// start starts a call in the bubble of the test.
func start(t *testing.T, r replier, answers map[string]string, sinkErr error) *talk {
	c := &talk{model: model{turns: functions.NewTurns(), answers: answers}, in: functions.NewStream(0, 0), done: make(chan struct{})}
	sink := functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		var s voice.Sentence
		if err := value.Decode(it.Value, &s); err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.turns.Over(it.Turn) {
			c.got = append(c.got, said{it.Turn, s.Text, it.Time.Unix()})
		}
		return sinkErr
	})
	go func() {
		defer close(c.done)
		c.err = sdk.NewDuplexHandler(value.Codec{}, voice.Reply, r.reply)(sdk.WithEnv(t.Context(), &c.model), c.in, sink)
	}()
	return c
}

func (c *talk) hear(t *testing.T, turn uint64, h voice.Heard) {
	t.Helper()
	b, err := value.Encode(h)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.in.Send(t.Context(), functions.Item{Value: b, Turn: turn, Time: time.Unix(int64(turn)*100, 0)}); err != nil {
		t.Fatal(err)
	}
}

func (c *talk) ask(t *testing.T, turn uint64, text string) {
	t.Helper()
	c.hear(t, turn, voice.Heard{Kind: voice.Final, Text: text, Confidence: 0.9})
}

// end ends the input and waits for the end of the call.
func (c *talk) end() error {
	c.in.CloseSend(nil)
	<-c.done
	return c.err
}

// want checks all that came out, and that no generation is left open.
func (c *talk) want(t *testing.T, want ...said) {
	t.Helper()
	if diff := cmp.Diff(want, c.got); diff != "" {
		t.Errorf("sentences, -want +got:\n%s", diff)
	}
	if open := c.generations(); open != 0 {
		t.Errorf("%d generations are open", open)
	}
}

// generations returns how many are open.
func (c *talk) generations() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

func TestReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, replier{}, map[string]string{"who?": "It is me. I think", "where?": "Here. "}, nil)
		c.hear(t, 0, voice.Heard{Kind: voice.Onset})
		c.hear(t, 0, voice.Heard{Kind: voice.Partial, Text: "who"})
		c.ask(t, 0, "who?")
		c.ask(t, 1, "where?")
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		c.want(t, said{0, "It is me.", 0}, said{0, "I think", 0}, said{1, "Here.", 100})
		if want := [][]functions.Message{{{Role: "user", Content: "who?"}}, {{Role: "user", Content: "where?"}}}; !cmp.Equal(want, c.asked) {
			t.Errorf("the model was asked %v, want %v", c.asked, want)
		}
	})
}

// TestReply_SendsEachSentenceAtOnce, when the white space behind it is there.
func TestReply_SendsEachSentenceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, replier{}, map[string]string{"who?": "It is me. I think so."}, nil)
		c.ask(t, 0, "who?")
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		c.mu.Lock()
		if len(c.got) != 1 {
			t.Errorf("after three words: %v, want the first sentence", c.got)
		}
		c.mu.Unlock()
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		c.want(t, said{0, "It is me.", 0}, said{0, "I think so.", 0})
	})
}

func TestReply_SorryWithoutTheModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, replier{historyBytes: 100}, nil, nil)
		c.hear(t, 0, voice.Heard{Kind: voice.Final})
		c.hear(t, 1, voice.Heard{Kind: voice.Final, Text: "mumble", Confidence: 0.2})
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		c.want(t, said{0, "Sorry, I did not hear a question.", 0}, said{1, "Sorry, I did not understand you.", 100}, said{1, "Please say that again.", 100})
		if c.asked != nil {
			t.Errorf("the model was asked %v", c.asked)
		}
	})
}

// TestReply_Interrupted: an answer ends with its turn, at once, and the next question is answered.
func TestReply_Interrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, replier{}, map[string]string{"long?": strings.Repeat("More. ", 1000), "where?": "Here."}, nil)
		begin := time.Now()
		c.ask(t, 3, "long?")
		time.Sleep(3500 * time.Millisecond)
		c.turns.End(3)
		synctest.Wait()
		if c.generations() != 0 {
			t.Error("the generation goes on")
		}
		c.ask(t, 4, "where?")
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		c.want(t, said{3, "More.", 300}, said{3, "More.", 300}, said{3, "More.", 300}, said{4, "Here.", 400})
		if took := time.Since(begin); took != 4500*time.Millisecond {
			t.Errorf("took %s, want nothing after the interruption but the word of the next answer", took)
		}
	})
}

// TestReply_InterruptedWhileItWaits: a question whose turn is over before its answer begins is not put to the model.
func TestReply_InterruptedWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, replier{}, map[string]string{"long?": strings.Repeat("More. ", 1000), "where?": "Here."}, nil)
		for turn, text := range []string{"long?", "long?", "where?"} {
			c.ask(t, uint64(turn), text)
		}
		time.Sleep(1500 * time.Millisecond)
		c.turns.End(1)
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		c.want(t, said{0, "More.", 0}, said{2, "Here.", 200})
	})
}

// TestReply_RemembersIfItIsTold: also the part of an answer that was given before the interruption, but no question
// that was not understood.
func TestReply_RemembersIfItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, replier{historyBytes: 100}, map[string]string{"long?": strings.Repeat("More. ", 1000), "where?": "Here.", "why?": "So."}, nil)
		c.ask(t, 0, "long?")
		time.Sleep(3500 * time.Millisecond)
		c.turns.End(0)
		c.ask(t, 1, "where?")
		c.hear(t, 2, voice.Heard{Kind: voice.Final})
		c.ask(t, 3, "why?")
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		want := []functions.Message{{Role: "user", Content: "long?"}, {Role: "assistant", Content: "More. More. More."},
			{Role: "user", Content: "where?"}, {Role: "assistant", Content: "Here."}, {Role: "user", Content: "why?"}}
		if len(c.asked) != 3 || !cmp.Equal(want, c.asked[2]) {
			t.Errorf("the model was asked %v, want %v at last", c.asked, want)
		}
	})
}

// TestReply_PushesBack: questions that nobody answers yet are left in the stream, but for a few.
func TestReply_PushesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, replier{}, map[string]string{"long?": strings.Repeat("More. ", 100)}, nil)
		var sent atomic.Int64
		go func() {
			for range 1000 {
				c.ask(t, 0, "long?")
				sent.Add(1)
			}
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if most := int64(functions.DefaultEdgeItems + maxWaiting + 2); sent.Load() > most {
			t.Errorf("%d questions were taken, want %d at most", sent.Load(), most)
		}
		c.turns.End(0)
		synctest.Wait()
		if sent.Load() != 1000 {
			t.Errorf("%d questions were taken after the interruption, want all", sent.Load())
		}
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestReply_Failures end the call, with all that it began.
func TestReply_Failures(t *testing.T) {
	gone := errors.New("gone")
	answers := map[string]string{"who?": "It is me. I think."}
	for name, tc := range map[string]struct {
		answers     map[string]string
		sink, input error
		want        error
	}{
		"of the model":  {nil, nil, nil, functions.ErrUnavailable},
		"of the reader": {answers, gone, nil, gone},
		"of the input":  {answers, nil, gone, gone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, replier{}, tc.answers, tc.sink)
				c.ask(t, 0, "who?")
				if tc.input != nil {
					c.in.CloseSend(tc.input)
				}
				<-c.done // though the input may go on
				if !errors.Is(c.err, tc.want) || c.generations() != 0 {
					t.Errorf("got %v, %d generations are open; want %v and none", c.err, c.generations(), tc.want)
				}
			})
		})
	}
}

// TestReply_InAChain: the executor interrupts an answer at the next onset.
func TestReply_InAChain(t *testing.T) {
	speaks := make(chan struct{})
	listen := func(ctx context.Context, in *sdk.Receiver[voice.Speech], out *sdk.Sender[voice.Heard]) error {
		for turn := uint64(0); ; turn++ {
			_, err := in.Recv(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			for _, h := range []voice.Heard{{Kind: voice.Onset}, {Kind: voice.Final, Text: []string{"long?", "where?"}[turn], Confidence: 1}} {
				if err := out.Send(ctx, sdk.Msg[voice.Heard]{Value: h, Turn: turn}); err != nil {
					return err
				}
			}
			if turn == 0 {
				<-speaks
			}
		}
	}
	speak := func(ctx context.Context, s voice.Sentence) (voice.Sentence, error) {
		if s.Text == "More." {
			close(speaks) // a second time would be a crash
			<-ctx.Done()
			return s, context.Cause(ctx)
		}
		return s, nil
	}
	say := sdk.NewFunc[voice.Sentence, voice.Sentence]("say")
	chain := sdk.MustDefine("talk", func(s *sdk.Steps, in sdk.Val[sdk.Stream[voice.Speech]]) sdk.Val[sdk.Stream[voice.Sentence]] {
		s.InterruptOnOnset()
		return sdk.Each(s, say, sdk.Call(s, voice.Reply, sdk.Call(s, voice.Listen, in)))
	})
	blobs := &sdktest.Blobs{}
	audio := blobs.Audio(t, append(wav.Header(16000, 1, 2), 0, 0))
	out, err := sdktest.Run(t, chain, sdk.StreamOf(slices.Values([]voice.Speech{{Kind: voice.End, Audio: audio}, {Kind: voice.End, Audio: audio}})), blobs,
		sdktest.BindDuplex(voice.Listen, listen), sdktest.BindDuplex(voice.Reply, replier{}.reply), sdktest.Bind(say, speak),
		sdktest.Model("llm", func(g functions.Generation) []string {
			if g.Messages[0].Content == "long?" {
				return strings.SplitAfter(strings.Repeat("More. ", 100), " ")
			}
			return []string{"Here."}
		}))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for s, err := range out {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s.Text)
	}
	if diff := cmp.Diff([]string{"Here."}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
