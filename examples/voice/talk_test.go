package main

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/internal/spoken"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sdk/client"
)

// pause is longer than what ends an utterance.
var pause = spoken.Silence(600 * time.Millisecond)

// listener reads what a conversation tells, and checks what holds for each: a turn is over once, and nothing is heard of
// it after that.
type listener struct {
	t    *testing.T
	v    *spoken.Conversation
	next uint64 // turns below it are over
	said map[uint64][]string
	last uint64 // the newest turn that was heard
}

func converse(t *testing.T, c *client.Client) *listener {
	t.Helper()
	v, err := spoken.Converse(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return &listener{t: t, v: v, said: map[uint64][]string{}}
}

// until reads events until one is what is waited for, and returns that.
func (l *listener) until(what string, is func(spoken.Event) bool) spoken.Event {
	l.t.Helper()
	for {
		e, err := l.v.Next()
		if err != nil {
			l.t.Fatalf("waiting for %s: %v", what, err)
		}
		l.check(e)
		if is(e) {
			return e
		}
	}
}

func (l *listener) check(e spoken.Event) {
	l.t.Helper()
	switch {
	case e.Over:
		if e.Turn < l.next {
			l.t.Errorf("turn %d is over a second time", e.Turn)
		}
		l.next = e.Turn + 1
	case e.Audio != nil && e.Turn < l.next:
		l.t.Errorf("sound of turn %d, which is over", e.Turn)
	case e.Said != nil:
		l.said[e.Turn] = append(l.said[e.Turn], e.Said.Text)
	case e.Heard != nil:
		l.last = max(l.last, e.Turn)
	}
}

// final waits until an utterance has been understood for good.
func (l *listener) final() (turn uint64, heard voice.Transcript) {
	l.t.Helper()
	e := l.until("what was understood", func(e spoken.Event) bool { return e.Heard != nil && e.Heard.Kind == voice.Final })
	return e.Turn, voice.Transcript{Text: e.Heard.Text, Confidence: e.Heard.Confidence}
}

// sound waits for the first sound of the answer to a turn.
func (l *listener) sound(turn uint64) []byte {
	l.t.Helper()
	return l.until("an answer", func(e spoken.Event) bool { return e.Turn == turn && e.Audio != nil }).Audio
}

// end hangs up, and reads to the end.
func (l *listener) end() {
	l.t.Helper()
	l.v.HangUp()
	rest, err := l.v.Rest()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, e := range rest {
		l.check(e)
	}
}

func question(t *testing.T, q spoken.Question) []byte {
	t.Helper()
	file, err := os.ReadFile(q.WAV)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := spoken.Samples(file)
	if err != nil {
		t.Fatal(err)
	}
	return samples
}

// talkTwentyQuestions asks all questions in one conversation, each as soon as the answer to the one before has begun.
// They are held to what twentyQuestions asks of the chain voice.
func talkTwentyQuestions(t *testing.T, c *client.Client) {
	questions, err := spoken.Questions("questions", "questions")
	if err != nil {
		t.Fatal(err)
	}
	l := converse(t, c)
	var wrong, words, onTopic int
	for i, q := range questions {
		samples := question(t, q)
		var speaking sync.WaitGroup
		var speakErr error
		speaking.Go(func() { speakErr = l.v.Say(t.Context(), append(samples, pause...), false) })
		turn, heard := l.final()
		if turn != uint64(i) {
			t.Fatalf("%s is turn %d, want %d: each question is one utterance", q.ID, turn, i)
		}
		l.sound(turn)
		speaking.Wait()
		if speakErr != nil {
			t.Fatal(speakErr)
		}
		e, n := spoken.WordErrors(q.Text, heard.Text)
		wrong, words = wrong+e, words+n
		a := spoken.Answer{Heard: heard, Step: "answer", Sentences: l.said[turn]}
		if a.OnTopic(q) && !heard.Unsure() {
			onTopic++
		}
		t.Logf("%s %q heard %q (%.2f): %q", q.ID, q.Text, heard.Text, heard.Confidence, a.Text())
	}
	l.end()
	t.Logf("word errors %d of %d, on topic %d of %d", wrong, words, onTopic, len(questions))
	if wrong*100 > words*20 {
		t.Errorf("%d of %d words wrong, want at most 20 %%", wrong, words)
	}
	if onTopic < 17 {
		t.Errorf("%d answers on the topic, want at least 17", onTopic)
	}
	if want := uint64(len(questions) - 1); l.last != want || l.next != want {
		t.Errorf("the last turn is %d, those before %d are over; want both to be %d", l.last, l.next, want)
	}
}

// speakOver asks for a story in real time, as a microphone that is always on, and speaks over it.
func speakOver(t *testing.T, server *testkit.Server, c *client.Client) {
	all, err := spoken.Questions("questions", "questions")
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]spoken.Question{}
	for _, q := range all {
		byID[q.ID] = q
	}
	story, capital := byID["q01"], byID["q09"]

	l := converse(t, c)
	toSay, quiet := make(chan []byte, 1), make(chan struct{})
	var microphone sync.WaitGroup
	var saying error
	microphone.Go(func() {
		for saying == nil {
			select {
			case <-quiet:
				return
			case samples := <-toSay:
				saying = l.v.Say(t.Context(), samples, true)
			default:
				saying = l.v.Say(t.Context(), spoken.Silence(spoken.Piece), true)
			}
		}
	})
	toSay <- question(t, story)
	first, heard := l.final()
	if e, n := spoken.WordErrors(story.Text, heard.Text); e*100 > n*20 {
		t.Errorf("heard %q, said %q", heard.Text, story.Text)
	}
	l.sound(first)
	toSay <- question(t, capital)
	l.until("the end of the story", func(e spoken.Event) bool {
		if e.Heard != nil && e.Heard.Kind == voice.Final {
			t.Fatalf("%q was heard, and the story goes on", e.Heard.Text)
		}
		return e.Over && e.Turn == first
	})
	second, heard := l.final()
	if e, n := spoken.WordErrors(capital.Text, heard.Text); second != first+1 || e*100 > n*20 {
		t.Errorf("turn %d: heard %q, said %q", second, heard.Text, capital.Text)
	}
	speech := l.sound(second)
	close(quiet)
	microphone.Wait()
	if saying != nil {
		t.Fatal(saying)
	}
	l.end()
	again, err := spoken.Listen(t.Context(), c, speech)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(again.Text, "paris") {
		t.Errorf("the answer %q sounds like %q", l.said[second], again.Text)
	}
	nothingLeft(t, server)
}

var metricLine = regexp.MustCompile(`(?m)^(catenary_gateway_runs|catenary_coldstart_instances_busy|catenary_coldstart_queue_depth) (.*)$`)

// nothingLeft waits until no run, no instance at work and no call in a queue is left.
func nothingLeft(t *testing.T, server *testkit.Server) {
	t.Helper()
	testkit.Eventually(t, "everything that the runs held to be free", func() bool {
		resp, err := http.Get(server.URL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		lines := metricLine.FindAllStringSubmatch(string(body), -1)
		if len(lines) != 3 {
			t.Fatalf("the server tells %q, want three metrics", lines)
		}
		for _, line := range lines {
			if line[2] != "0" {
				return false
			}
		}
		return true
	})
}

// hungUp: a caller that goes away in the middle of an answer leaves nothing behind.
func hungUp(t *testing.T, server *testkit.Server, c *client.Client) {
	all, err := spoken.Questions("questions", "questions")
	if err != nil {
		t.Fatal(err)
	}
	l := converse(t, c)
	var speaking sync.WaitGroup
	speaking.Go(func() { _ = l.v.Say(t.Context(), append(question(t, all[0]), pause...), false) })
	turn, _ := l.final()
	l.until("a sentence", func(e spoken.Event) bool { return e.Turn == turn && e.Said != nil })
	speaking.Wait()
	l.v.Close()
	nothingLeft(t, server)
}
