package pocketsphinx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"github.com/catenary-run/catenary/examples/functions/voice/pcm"
)

// ModelDir is where Debian puts the model.
const ModelDir = "/usr/share/pocketsphinx/model/en-us"

const sampleHz = pcm.SampleHz // what the acoustic model was trained with

// errGone is of an engine that was closed.
var errGone = errors.New("pocketsphinx: the decoder is closed")

// engine is a decoder of the library's, with its model. It is for one goroutine at a time.
type engine struct {
	lib *library
	ps  uintptr // 0 once it is closed
}

// openEngine loads the model of a folder.
func openEngine(dir string) (*engine, error) {
	lib, err := openLibrary()
	if err != nil {
		return nil, err
	}
	acoustic, language, dictionary := filepath.Join(dir, "en-us"), filepath.Join(dir, "en-us.lm.bin"), filepath.Join(dir, "cmudict-en-us.dict")
	for _, file := range []string{filepath.Join(acoustic, "mdef"), language, dictionary} {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("pocketsphinx: model: %w: %s", err, remedy)
		}
	}
	lib.logTo(0)
	config, err := lib.config("-hmm", acoustic, "-lm", language, "-dict", dictionary, "-logfn", "/dev/null")
	if err != nil {
		return nil, err
	}
	// The decoder keeps the configuration for itself.
	defer lib.freeConfig(config)
	ps := lib.open(config)
	if ps == 0 {
		return nil, fmt.Errorf("pocketsphinx: the model in %s can't be loaded: %s", dir, remedy)
	}
	return &engine{lib: lib, ps: ps}, nil
}

// begin begins an utterance. A new stream forgets the noise of the last one.
func (e *engine) begin() error {
	if e.ps == 0 {
		return errGone
	}
	if e.lib.startStream(e.ps) < 0 || e.lib.start(e.ps) < 0 {
		return errors.New("pocketsphinx: the decoder does not start")
	}
	return nil
}

// add searches on in samples of the utterance: in all of it, or in a piece.
func (e *engine) add(samples []int16, whole bool) error {
	if len(samples) == 0 {
		return nil
	}
	var all int32
	if whole {
		all = 1
	}
	processed := e.lib.process(e.ps, unsafe.Pointer(&samples[0]), uintptr(len(samples)), 0, all)
	runtime.KeepAlive(samples)
	if processed < 0 {
		return errors.New("pocketsphinx: the utterance can't be decoded")
	}
	return nil
}

// end makes the last passes over the utterance.
func (e *engine) end() error {
	if e.lib.end(e.ps) < 0 {
		return errors.New("pocketsphinx: the utterance can't be decoded")
	}
	return nil
}

// text returns the words that are the most likely ones so far.
func (e *engine) text() string {
	var score int32
	return e.lib.hypothesis(e.ps, &score)
}

// words returns the words of an utterance that has ended on the best path through the word lattice, with their
// posteriors.
func (e *engine) words() []word {
	if e.text() == "" {
		return nil
	}
	var score int32
	logmath := e.lib.logmath(e.ps)
	var words []word
	for s := e.lib.firstWord(e.ps, &score); s != 0; s = e.lib.nextWord(s) {
		var acoustic, language, backoff int32
		p := e.lib.wordProb(s, &acoustic, &language, &backoff)
		words = append(words, word{e.lib.wordText(s), e.lib.exp(logmath, p)})
	}
	return words
}

// close frees it.
func (e *engine) close() {
	if e.ps != 0 {
		e.lib.free(e.ps)
		e.ps = 0
	}
}
