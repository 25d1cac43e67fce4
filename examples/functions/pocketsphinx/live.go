package pocketsphinx

import (
	"sync"

	"github.com/catenary-run/catenary/examples/functions/voice"
)

// Live hears the utterances of one session, each as it is spoken. It gets used to the session's voice and microphone: the
// means of the cepstra, which tell a word from the sound of the room, are carried from one utterance to the next. So a
// session gets a Live of its own. It is for one goroutine.
type Live struct {
	engine *engine
}

// OpenLive loads the model of a folder, such as [ModelDir].
func OpenLive(dir string) (*Live, error) {
	e, err := openEngine(dir)
	if err != nil {
		return nil, err
	}
	return &Live{e}, nil
}

// Begin begins an utterance. The one before must have ended.
func (l *Live) Begin() (*Utterance, error) {
	if err := l.engine.begin(); err != nil {
		return nil, err
	}
	return &Utterance{engine: l.engine}, nil
}

// Close frees the model.
func (l *Live) Close() { l.engine.close() }

// Utterance is one that is being heard.
type Utterance struct {
	engine  *engine
	samples []int16 // all of it, to tell a voice from other sounds
}

// Add hears the next samples, mono at 16 kHz.
func (u *Utterance) Add(samples []int16) error {
	u.samples = append(u.samples, samples...)
	return u.engine.add(samples, false)
}

// Samples returns all that was added.
func (u *Utterance) Samples() []int16 { return u.samples }

// Text returns what was understood so far. It may change with all that comes, and be empty again.
func (u *Utterance) Text() string { return u.engine.text() }

// End returns what was understood of all of it.
func (u *Utterance) End() (voice.Transcript, error) {
	var voiced bool
	var gate sync.WaitGroup
	gate.Go(func() { voiced = speech(u.samples) })
	err := u.engine.end()
	gate.Wait()
	if err != nil || !voiced {
		return voice.Transcript{}, err
	}
	return transcript(u.engine.words()), nil
}

// Drop ends the utterance when nobody wants to know any more.
func (u *Utterance) Drop() error { return u.engine.end() }
