// Package spoken asks the voice example its spoken questions and judges what comes back, for tests and benchmarks.
//
// [Questions] reads a list of questions; [Ask] sends one to a server and returns an [Answer]; [Converse] begins a live
// [Conversation], which tells its [Event] values; [WordErrors] compares texts.
package spoken

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/examples/voice/chain"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk/client"
)

// Question is one line of a list.
type Question struct {
	ID    string
	Text  string // what is spoken
	Topic string // a word that an answer on the topic has; empty for nonsense
	WAV   string // file
}

// Questions reads the list DIR/NAME.tsv, whose wavs are beside it.
func Questions(dir, name string) ([]Question, error) {
	b, err := os.ReadFile(filepath.Join(dir, name+".tsv"))
	if err != nil {
		return nil, err
	}
	var all []Question
	for line := range strings.Lines(string(b)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s.tsv: line %q has %d fields, want 3", name, line, len(fields))
		}
		all = append(all, Question{fields[0], fields[1], fields[2], filepath.Join(dir, fields[0]+".wav")})
	}
	return all, nil
}

// Answer is all that came of one question.
type Answer struct {
	Heard     voice.Transcript
	Step      string   // answer or sorry: which branch was taken
	Sentences []string // what it said
	Speech    []byte   // the same, spoken: one wav
	Timings   map[string]client.Timing
}

// Text returns the sentences as one text.
func (a Answer) Text() string { return strings.Join(a.Sentences, " ") }

// OnTopic reports whether the answer has the question's word.
func (a Answer) OnTopic(q Question) bool {
	return a.Step == "answer" && strings.Contains(" "+strings.Join(Words(a.Text()), " ")+" ", " "+q.Topic+" ")
}

// Ask sends speech, a wav, through the chain voice.
func Ask(ctx context.Context, c *client.Client, speech []byte) (Answer, error) {
	a := Answer{Timings: map[string]client.Timing{}}
	in, err := c.Audio(speech)
	if err != nil {
		return a, err
	}
	var observed error
	stream, err := client.Run(ctx, c, chain.Voice, in,
		client.Observe(func(o client.Observed) {
			if o.Step == "transcribe" {
				observed = json.Unmarshal(o.JSON, &a.Heard)
				return
			}
			var said voice.Sentence
			observed = json.Unmarshal(o.JSON, &said)
			a.Step = o.Step
			a.Sentences = append(a.Sentences, said.Text)
		}, "transcribe", "answer", "sorry"),
		client.Timings(func(t client.Timing) { a.Timings[t.Step] = t }))
	if err != nil {
		return a, err
	}
	var parts [][]byte
	for audio, err := range stream {
		if err != nil {
			return a, err
		}
		part, err := c.ReadBlob(ctx, audio.Blob)
		if err != nil {
			return a, err
		}
		parts = append(parts, part)
	}
	if observed != nil {
		return a, observed
	}
	a.Speech, err = wav.Join(parts)
	return a, err
}

// Listen sends speech through the chain listen.
func Listen(ctx context.Context, c *client.Client, speech []byte) (voice.Transcript, error) {
	in, err := c.Audio(speech)
	if err != nil {
		return voice.Transcript{}, err
	}
	return client.Run(ctx, c, chain.Listen, in)
}

// Words returns the words of a text in lower case, without punctuation.
func Words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '\''
	})
}

// WordErrors returns the least number of words to change, drop or add that makes heard of said, and the number of words
// of said (Levenshtein's distance, over words).
func WordErrors(said, heard string) (errors, words int) {
	a, b := Words(said), Words(heard)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)], len(a)
}

// Kept returns how many words of said are in heard, each as often as it is there, and the number of words of said.
func Kept(said, heard string) (kept, words int) {
	there := map[string]int{}
	for _, w := range Words(heard) {
		there[w]++
	}
	all := Words(said)
	for _, w := range all {
		if there[w] > 0 {
			there[w]--
			kept++
		}
	}
	return kept, len(all)
}
