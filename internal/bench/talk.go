package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/examples/voice/chain"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/internal/samples"
	"github.com/catenary-run/catenary/internal/spoken"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/client"
)

const (
	talkRounds    = 10
	longQuestion  = "q01.wav" // a story of four to six sentences
	shortQuestion = "q09.wav" // the capital of France
)

// The steps of the chain talk, for a caller who lets each finish before the next one begins.
var (
	talkCut = sdk.MustDefine("bench-cut", func(s *sdk.Steps, in sdk.Val[sdk.Stream[sdk.Audio]]) sdk.Val[sdk.Stream[voice.Speech]] {
		return sdk.Call(s, voice.VAD, sdk.Call(s, voice.Resample, in))
	})
	talkAnswer = sdk.MustDefine("bench-answer", func(s *sdk.Steps, heard sdk.Val[voice.Transcript]) sdk.Val[sdk.Stream[voice.Sentence]] {
		return sdk.Call(s, voice.Answer, heard)
	})
	talkSpeak = sdk.MustDefine("bench-speak", func(s *sdk.Steps, said sdk.Val[voice.Sentence]) sdk.Val[sdk.Audio] {
		return sdk.Call(s, voice.Speak, said)
	})
)

// talker asks questions in real time.
type talker struct {
	*voiceServer
	questions map[string][]byte // samples, from the first to the last sound
}

// benchTalk asks in real time, by the chain talk and step by step in turns, and speaks over answers. Push to talk means
// that the caller says where a question ends; hands-free that vad has to find it, for which it takes 400 ms of silence.
func benchTalk(ctx context.Context, rec *recorder) error {
	v, err := newVoice(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	t := &talker{v, map[string][]byte{}}
	if err := t.prepare(ctx); err != nil {
		return err
	}
	var last []spoken.Event
	var end time.Time
	for round := range talkRounds + 1 {
		rec := rec
		if round == 0 {
			rec = &recorder{} // what was asleep wakes
		}
		for _, q := range []struct{ name, file string }{{"long", longQuestion}, {"short", shortQuestion}} {
			events, ended, err := t.stream(ctx, rec, q.name+pushToTalk, t.questions[q.file], true)
			if err != nil {
				return fmt.Errorf("%s%s: %w", q.name, pushToTalk, err)
			}
			if q.name == "long" {
				last, end = events, ended
			}
			if err := t.stepByStep(ctx, rec, q.name+pushToTalk, t.questions[q.file], true); err != nil {
				return fmt.Errorf("%s%s, step by step: %w", q.name, pushToTalk, err)
			}
			if _, _, err := t.stream(ctx, rec, q.name+handsFree, t.questions[q.file], false); err != nil {
				return fmt.Errorf("%s%s: %w", q.name, handsFree, err)
			}
			if err := t.stepByStep(ctx, rec, q.name+handsFree, t.questions[q.file], false); err != nil {
				return fmt.Errorf("%s%s, step by step: %w", q.name, handsFree, err)
			}
		}
		if err := t.interrupt(ctx, rec); err != nil {
			return fmt.Errorf("interrupt: %w", err)
		}
		if err := t.speakOver(ctx, rec); err != nil {
			return fmt.Errorf("speak over: %w", err)
		}
	}
	fmt.Fprintln(rec.out, "  the last long answer, push to talk, in ms from the end of the question:")
	fall(rec.out, last, end)
	for _, name := range []string{"long" + pushToTalk, "long" + handsFree, "short" + pushToTalk, "short" + handsFree} {
		for _, until := range []string{allSpoken, firstSpoken} {
			rec.ratio(name+": step by step, "+until+" / streams", name+": step by step, "+until, name+": streams, "+firstAudio)
		}
	}
	return nil
}

const (
	pushToTalk = ", push to talk"
	handsFree  = ", hands-free"

	firstAudio  = "until the first audio"
	firstSpoken = "until the first sentence is spoken"
	allSpoken   = "until all of it is spoken"
)

// prepare deploys the steps and reads the questions.
func (t *talker) prepare(ctx context.Context) error {
	var b client.Bundle
	for _, describe := range []func() (sdk.ChainDescription, error){talkCut.Describe, talkAnswer.Describe, talkSpeak.Describe} {
		d, err := describe()
		if err != nil {
			return err
		}
		b.Chains = append(b.Chains, d)
	}
	if _, err := t.client.Deploy(ctx, b); err != nil {
		return err
	}
	for _, file := range []string{longQuestion, shortQuestion} {
		b, err := os.ReadFile(filepath.Join(questionsDir, file))
		if err != nil {
			return err
		}
		samples, err := spoken.Samples(b)
		if err != nil {
			return err
		}
		t.questions[file] = spoken.Trim(samples)
	}
	return nil
}

// A caller says nothing for a moment before and after a question.
var (
	quietBefore = spoken.Silence(500 * time.Millisecond)
	quietAfter  = spoken.Silence(2 * time.Second)
)

// stream asks by the chain talk, as the second question of a conversation: by the first one the recogniser gets used to
// the voice. It returns what happened since, and when the question ended.
func (t *talker) stream(ctx context.Context, rec *recorder, name string, question []byte, push bool) (events []spoken.Event, ended time.Time, err error) {
	v, err := spoken.Converse(ctx, t.client)
	if err != nil {
		return nil, ended, err
	}
	defer v.Close()
	first, err := t.askFast(ctx, v, shortQuestion)
	if err != nil {
		return nil, ended, err
	}
	if err := until(v, func(e spoken.Event) bool { return e.Turn == first && e.Audio != nil }); err != nil {
		return nil, ended, err
	}
	var speaking sync.WaitGroup
	speaking.Go(func() {
		defer v.HangUp()
		speak := func(samples []byte) { _ = v.Say(ctx, samples, true) } // if it fails, the conversation ends
		speak(quietBefore)
		speak(question)
		ended = time.Now()
		if !push {
			speak(quietAfter)
		}
	})
	events, err = v.Rest()
	speaking.Wait()
	if err != nil {
		return nil, ended, err
	}
	return events, ended, shares(rec, name, events, ended)
}

// shares records what the time from the end of a question to the first audio is made of.
func shares(rec *recorder, name string, events []spoken.Event, ended time.Time) error {
	from := ended
	for _, part := range []struct {
		what string
		is   func(spoken.Event) bool
	}{
		{"vad: finds its end", func(e spoken.Event) bool { return e.Speech != nil && e.Speech.Kind == voice.End }},
		{"listen: is sure of the words", func(e spoken.Event) bool { return e.Heard != nil && e.Heard.Kind == voice.Final }},
		{"reply: first sentence", func(e spoken.Event) bool { return e.Said != nil }},
		{"speak: first sentence", func(e spoken.Event) bool { return e.Audio != nil }},
	} {
		at := slices.IndexFunc(events, part.is)
		if at < 0 {
			return fmt.Errorf("nothing was told of %s", part.what)
		}
		rec.Took(name+": streams, of which "+part.what, events[at].At.Sub(from))
		from = events[at].At
	}
	rec.Took(name+": streams, "+firstAudio, from.Sub(ended))
	return nil
}

// stepByStep asks the same with each step done before the next one begins: the recogniser hears the utterance as a whole
// when its last sample is there, the model answers all that was heard, and all of the answer is spoken.
func (t *talker) stepByStep(ctx context.Context, rec *recorder, name string, question []byte, push bool) error {
	took := func(what string, since time.Time) time.Time {
		now := time.Now()
		rec.Took(name+": step by step, "+what, now.Sub(since))
		return now
	}
	clip, ended := append(wav.Header(spoken.SampleHz, 1, int64(len(question))), question...), time.Now()
	at := ended
	if !push {
		var err error
		if clip, ended, err = t.cut(ctx, question); err != nil {
			return err
		}
		at = took("of which vad: finds its end", ended)
	}
	heard, err := spoken.Listen(ctx, t.client, clip)
	if err != nil {
		return err
	}
	at = took("of which transcribe", at)
	answer, err := client.Run(ctx, t.client, talkAnswer, heard)
	if err != nil {
		return err
	}
	var sentences []voice.Sentence
	for s, err := range answer {
		if err != nil {
			return err
		}
		sentences = append(sentences, s)
	}
	at = took("of which answer", at)
	for i, s := range sentences {
		if _, err := client.Run(ctx, t.client, talkSpeak, s); err != nil {
			return err
		}
		if i == 0 {
			took(firstSpoken, ended)
		}
	}
	took("of which speak", at)
	took(allSpoken, ended)
	return nil
}

// cut says the question in real time to a chain that only finds utterances, and returns the one that it has found.
func (t *talker) cut(ctx context.Context, question []byte) (clip []byte, ended time.Time, err error) {
	s, err := client.Start(ctx, t.client, talkCut)
	if err != nil {
		return nil, ended, err
	}
	defer s.Close()
	var saying sync.WaitGroup
	defer saying.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	said := make(chan time.Time, 1)
	saying.Go(func() {
		speak := func(samples []byte) { _ = spoken.Say(ctx, t.client, s, samples, true) } // if it fails, so does Recv
		speak(quietBefore)
		speak(question)
		said <- time.Now()
		speak(quietAfter)
	})
	var parts [][]byte
	for {
		r, err := s.Recv(ctx)
		if err != nil {
			return nil, ended, fmt.Errorf("the utterance has no end: %w", err)
		}
		part, err := t.client.ReadBlob(ctx, r.Value.Audio.Blob)
		if err != nil {
			return nil, ended, err
		}
		if parts = append(parts, part); r.Value.Kind == voice.End {
			clip, err = wav.Join(parts)
			return clip, <-said, err
		}
	}
}

// interrupt ends a long answer after its first sentence.
func (t *talker) interrupt(ctx context.Context, rec *recorder) error {
	v, err := spoken.Converse(ctx, t.client)
	if err != nil {
		return err
	}
	defer v.Close()
	turn, err := t.askFast(ctx, v, longQuestion)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := v.Interrupt(ctx, turn); err != nil {
		return err
	}
	var last time.Time
	return until(v, func(e spoken.Event) bool {
		if e.Audio != nil {
			last = e.At
		}
		if e.Over {
			rec.Took("interrupt: until the caller is told that the turn is over", e.At.Sub(begin))
			rec.Took("interrupt: until the last audio of the turn", max(0, last.Sub(begin)))
		}
		return e.Over
	})
}

// speakOver ends a long answer by a question in real time.
func (t *talker) speakOver(ctx context.Context, rec *recorder) error {
	v, err := spoken.Converse(ctx, t.client)
	if err != nil {
		return err
	}
	defer v.Close()
	if _, err := t.askFast(ctx, v, longQuestion); err != nil {
		return err
	}
	var saying sync.WaitGroup
	defer saying.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	begin := time.Now()
	saying.Go(func() { _ = v.Say(ctx, t.questions[shortQuestion], true) })
	return until(v, func(e spoken.Event) bool {
		if e.Over {
			rec.Took("spoken over: from the first sample until the caller is told that the turn is over", e.At.Sub(begin))
		}
		return e.Over
	})
}

// askFast asks a question as fast as it is taken, and waits for the first sentence of the answer.
func (t *talker) askFast(ctx context.Context, v *spoken.Conversation, file string) (turn uint64, err error) {
	var saying sync.WaitGroup
	var sayErr error
	saying.Go(func() {
		sayErr = v.Say(ctx, slices.Concat(t.questions[file], spoken.Silence(500*time.Millisecond)), false)
	})
	err = until(v, func(e spoken.Event) bool {
		turn = e.Turn
		return e.Said != nil
	})
	saying.Wait()
	return turn, errors.Join(err, sayErr)
}

// until reads events until one is what is waited for.
func until(v *spoken.Conversation, is func(spoken.Event) bool) error {
	for {
		e, err := v.Next()
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if is(e) {
			return nil
		}
	}
}

// fall draws what the steps did at the same time: from its first sign to its last one, each.
func fall(w io.Writer, events []spoken.Event, end time.Time) {
	const width = 60
	type span struct {
		what     string
		from, to time.Time
	}
	spans := []span{{what: "caller speaks"}, {what: "vad"}, {what: "listen"}, {what: "reply"}, {what: "speak"}}
	note := func(i int, at time.Time) {
		if spans[i].from.IsZero() {
			spans[i].from = at
		}
		spans[i].to = at
	}
	for _, e := range events {
		switch {
		case e.Speech != nil:
			note(1, e.At)
		case e.Heard != nil:
			note(2, e.At)
			if e.Heard.Kind == voice.Final {
				note(3, e.At) // it begins
			}
		case e.Said != nil:
			note(3, e.At)
			if spans[4].from.IsZero() {
				note(4, e.At)
			}
		case e.Audio != nil:
			note(4, e.At)
		}
	}
	spans[0].from, spans[0].to = spans[1].from, end
	first, last := spans[0].from, spans[4].to
	table := samples.Table(w)
	for _, s := range spans {
		at := func(t time.Time) int {
			return int(int64(width-1) * int64(t.Sub(first)) / int64(max(1, last.Sub(first))))
		}
		line := strings.Repeat("·", at(s.from)) + strings.Repeat("█", at(s.to)-at(s.from)+1)
		line += strings.Repeat("·", width-len([]rune(line)))
		fmt.Fprintf(table, "  %s\t%s\t%d to %d\n", s.what, line, s.from.Sub(end).Milliseconds(), s.to.Sub(end).Milliseconds())
	}
	table.Flush()
	fmt.Fprintf(w, "  (chain %s; a bar reaches from the first sign of a step to its last)\n", chain.Talk.Name())
}
