package pocketsphinx

import (
	"sync"

	"github.com/catenary-run/catenary/examples/functions/voice"
)

// Decoder hears whole utterances. What it hears does not depend on those before. It may be used from many goroutines.
type Decoder struct {
	mu     sync.Mutex // held while one utterance is heard: the library's decoder is for one caller at a time
	engine *engine
}

// Open loads the model of a folder, such as [ModelDir].
func Open(dir string) (*Decoder, error) {
	e, err := openEngine(dir)
	if err != nil {
		return nil, err
	}
	return &Decoder{engine: e}, nil
}

// Hear returns what is said in the samples, mono at 16 kHz.
func (d *Decoder) Hear(samples []int16) (voice.Transcript, error) {
	if !speech(samples) {
		return voice.Transcript{}, nil
	}
	words, err := d.decode(samples)
	return transcript(words), err
}

// decode returns the words of an utterance, whether it is speech or not. The utterance is given as a whole: then the
// means of its cepstra are its own, where in a stream of pieces they would begin with those of the last utterance.
func (d *Decoder) decode(samples []int16) ([]word, error) {
	if len(samples) == 0 {
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.engine.begin(); err != nil {
		return nil, err
	}
	err := d.engine.add(samples, true)
	if ended := d.engine.end(); err == nil {
		err = ended
	}
	if err != nil {
		return nil, err
	}
	return d.engine.words(), nil
}

// Close frees the model. What is heard after that is an error.
func (d *Decoder) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.engine.close()
}
