package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/examples/functions/voice/sentence"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sdk"
)

const (
	// maxTokens ends an answer that does not end by itself: some 20 seconds of speech.
	maxTokens = 160
	// maxWaiting is how many questions can wait for an answer. While there are more, nothing is read.
	maxWaiting = 8
)

// question is an utterance that is over.
type question = sdk.Msg[voice.Heard]

// replier answers questions. The zero value forgets each one.
type replier struct {
	// historyBytes is how much of what was said before the model is told. main leaves it at zero: the model of the example
	// was trained on bare questions, and answers half as many on their topic if it is told the one before. For a model
	// that knows conversations, a few KiB that fit its context are right; what it has read already is not read again.
	historyBytes int
}

// reply reads and answers side by side, so that it hears of a new question while it answers one.
func (r replier) reply(ctx context.Context, in *sdk.Receiver[voice.Heard], out *sdk.Sender[voice.Sentence]) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	questions := make(chan question, maxWaiting)
	var reading sync.WaitGroup
	var readErr error
	reading.Go(func() {
		defer close(questions)
		readErr = read(ctx, in, questions)
	})
	err := r.answerAll(ctx, questions, out)
	cancel(err)
	reading.Wait()
	if err != nil {
		return err
	}
	return readErr
}

// read takes what was heard for good out of the stream, until it ends.
func read(ctx context.Context, in *sdk.Receiver[voice.Heard], questions chan<- question) error {
	for {
		heard, err := in.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if heard.Value.Kind != voice.Final {
			continue
		}
		select {
		case questions <- heard:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// answerAll answers one question after the other. One whose turn is over is left, and so is its answer.
func (r replier) answerAll(ctx context.Context, questions <-chan question, out *sdk.Sender[voice.Sentence]) error {
	said := history{maxBytes: r.historyBytes}
	for q := range questions {
		heard := voice.Transcript{Text: q.Value.Text, Confidence: q.Value.Confidence}
		a := answer{to: q, out: out}
		var err error
		if heard.Unsure() {
			err = a.send(ctx, heard.Sorry()...)
		} else {
			err = a.generate(ctx, said.with(heard.Text))
			said.add(heard.Text, strings.Join(a.said, " "))
		}
		if err != nil && !errors.Is(err, sdk.ErrInterrupted) {
			return err
		}
	}
	return nil
}

// answer is the answer to one question, as it is given.
type answer struct {
	to   question
	out  *sdk.Sender[voice.Sentence]
	said []string
}

// send sends sentences. It does not fail with the turn: what is sent for one that is over is dropped.
func (a *answer) send(ctx context.Context, sentences ...voice.Sentence) error {
	for _, s := range sentences {
		if err := a.out.Send(ctx, sdk.Msg[voice.Sentence]{Value: s, Turn: a.to.Turn, Time: a.to.Time}); err != nil {
			return err
		}
		a.said = append(a.said, s.Text)
	}
	return nil
}

// generate asks the model and sends each sentence as soon as it is whole. It returns an error wrapping
// [sdk.ErrInterrupted] if the turn ends before the answer.
func (a *answer) generate(ctx context.Context, messages []functions.Message) error {
	turn, cancel := sdk.TurnContext(ctx, a.to.Turn)
	defer cancel()
	tokens, err := sdk.Generate(turn, "llm", functions.Generation{Messages: messages, MaxTokens: maxTokens})
	if err != nil {
		return err
	}
	defer tokens.Close()
	var split sentence.Splitter
	for {
		token, err := tokens.Recv(turn)
		if errors.Is(err, io.EOF) {
			return a.send(ctx, sentences(split.Flush())...)
		}
		if err != nil {
			return err
		}
		if err := a.send(ctx, sentences(split.Add(token.Text))...); err != nil {
			return err
		}
	}
}

func sentences(texts []string) []voice.Sentence {
	all := make([]voice.Sentence, len(texts))
	for i, text := range texts {
		all[i].Text = text
	}
	return all
}
