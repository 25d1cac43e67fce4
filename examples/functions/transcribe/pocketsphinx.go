package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// modelDir is where Debian puts the model.
const modelDir = "/usr/share/pocketsphinx/model/en-us"

// remedy is what to do when the library or the model is missing.
const remedy = "install them with `apt-get install -y --no-install-recommends pocketsphinx pocketsphinx-en-us`"

// library is the part of pocketsphinx 5prealpha and sphinxbase that is used. A uintptr is an opaque pointer of the
// library's.
type library struct {
	args        func() uintptr
	parse       func(inout, definitions uintptr, argc int32, argv unsafe.Pointer, strict int32) uintptr
	freeConfig  func(config uintptr) int32
	open        func(config uintptr) uintptr
	startStream func(decoder uintptr) int32
	start       func(decoder uintptr) int32
	process     func(decoder uintptr, samples unsafe.Pointer, count uintptr, noSearch, whole int32) int32
	end         func(decoder uintptr) int32
	hypothesis  func(decoder uintptr, score *int32) string
	logmath     func(decoder uintptr) uintptr
	exp         func(logmath uintptr, value int32) float64
	firstWord   func(decoder uintptr, score *int32) uintptr
	nextWord    func(segment uintptr) uintptr
	wordText    func(segment uintptr) string
	wordProb    func(segment uintptr, acoustic, language, backoff *int32) int32
	logTo       func(file uintptr)
}

// openLibrary opens the libraries and finds the functions.
func openLibrary() (*library, error) {
	var l library
	for _, part := range []struct {
		file  string
		funcs map[string]any
	}{
		{"libsphinxbase.so.3", map[string]any{
			"cmd_ln_parse_r": &l.parse, "cmd_ln_free_r": &l.freeConfig, "logmath_exp": &l.exp, "err_set_logfp": &l.logTo,
		}},
		{"libpocketsphinx.so.3", map[string]any{
			"ps_args": &l.args, "ps_init": &l.open, "ps_start_stream": &l.startStream, "ps_start_utt": &l.start,
			"ps_process_raw": &l.process, "ps_end_utt": &l.end, "ps_get_hyp": &l.hypothesis, "ps_get_logmath": &l.logmath,
			"ps_seg_iter": &l.firstWord, "ps_seg_next": &l.nextWord, "ps_seg_word": &l.wordText, "ps_seg_prob": &l.wordProb,
		}},
	} {
		handle, err := purego.Dlopen(part.file, purego.RTLD_NOW|purego.RTLD_GLOBAL)
		if err != nil {
			return nil, fmt.Errorf("pocketsphinx: %w: %s", err, remedy)
		}
		for name, to := range part.funcs {
			addr, err := purego.Dlsym(handle, name)
			if err != nil {
				return nil, fmt.Errorf("pocketsphinx: %s is of another version: %w: %s", part.file, err, remedy)
			}
			purego.RegisterFunc(to, addr)
		}
	}
	return &l, nil
}

// decoder hears utterances, one at a time. What it hears does not depend on those before.
type decoder struct {
	lib *library
	ps  uintptr
	mu  sync.Mutex // the library's decoder is for one caller at a time
}

// openDecoder loads the model of a folder.
func openDecoder(dir string) (*decoder, error) {
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
	return &decoder{lib: lib, ps: ps}, nil
}

// config makes a configuration of pairs of options and values.
func (l *library) config(options ...string) (uintptr, error) {
	options = append([]string{"transcribe"}, options...)
	argv := make([]*byte, len(options)+1)
	var pin runtime.Pinner
	defer pin.Unpin()
	for i, o := range options {
		argv[i] = unsafe.StringData(o + "\x00")
		pin.Pin(argv[i])
	}
	pin.Pin(&argv[0])
	config := l.parse(0, l.args(), int32(len(options)), unsafe.Pointer(&argv[0]), 1)
	if config == 0 {
		return 0, errors.New("pocketsphinx: the library refuses its options")
	}
	return config, nil
}

// decode returns the words of an utterance on the best path through the word lattice, with their posteriors.
func (d *decoder) decode(samples []int16) ([]word, error) {
	if len(samples) == 0 {
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// A new stream forgets the noise of the last one. The utterance is given as a whole: then the means of its
	// cepstra are its own, where in a stream of pieces they would begin with those of the last utterance.
	if d.lib.startStream(d.ps) < 0 || d.lib.start(d.ps) < 0 {
		return nil, errors.New("pocketsphinx: the decoder does not start")
	}
	processed := d.lib.process(d.ps, unsafe.Pointer(&samples[0]), uintptr(len(samples)), 0, 1)
	runtime.KeepAlive(samples)
	if ended := d.lib.end(d.ps); processed < 0 || ended < 0 {
		return nil, errors.New("pocketsphinx: the utterance can't be decoded")
	}
	var score int32
	if d.lib.hypothesis(d.ps, &score) == "" {
		return nil, nil
	}
	logmath := d.lib.logmath(d.ps)
	var words []word
	for s := d.lib.firstWord(d.ps, &score); s != 0; s = d.lib.nextWord(s) {
		var acoustic, language, backoff int32
		p := d.lib.wordProb(s, &acoustic, &language, &backoff)
		words = append(words, word{d.lib.wordText(s), d.lib.exp(logmath, p)})
	}
	return words, nil
}
