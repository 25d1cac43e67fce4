package pocketsphinx

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// remedy is what to do when the library or the model is missing.
const remedy = "install them with `apt-get install -y --no-install-recommends pocketsphinx pocketsphinx-en-us`"

// library is the part of pocketsphinx 5prealpha and sphinxbase that is used. A uintptr is an opaque pointer of the
// library's.
type library struct {
	args        func() uintptr
	parse       func(inout, definitions uintptr, argc int32, argv unsafe.Pointer, strict int32) uintptr
	freeConfig  func(config uintptr) int32
	open        func(config uintptr) uintptr
	free        func(decoder uintptr) int32
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
	tune        func(what, value int32) int32
}

// What the C library's heap is told, so that a decoder that is closed leaves no hundred megabytes behind: that is what it
// took, and the next one may be opened on another thread.
const (
	mmapThreshold, mmapBytes = -3, 256 << 10 // the tables of a model go back to the system at once
	arenaMax, arenas         = -8, 1         // what is left of a heap is of use to all threads
)

// openLibrary opens the libraries and finds the functions.
func openLibrary() (*library, error) {
	var l library
	for _, part := range []struct {
		file  string
		funcs map[string]any
	}{
		{"libc.so.6", map[string]any{"mallopt": &l.tune}},
		{"libsphinxbase.so.3", map[string]any{
			"cmd_ln_parse_r": &l.parse, "cmd_ln_free_r": &l.freeConfig, "logmath_exp": &l.exp, "err_set_logfp": &l.logTo,
		}},
		{"libpocketsphinx.so.3", map[string]any{
			"ps_args": &l.args, "ps_init": &l.open, "ps_free": &l.free, "ps_start_stream": &l.startStream, "ps_start_utt": &l.start,
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
	l.tune(mmapThreshold, mmapBytes)
	l.tune(arenaMax, arenas)
	return &l, nil
}

// config makes a configuration of pairs of options and values.
func (l *library) config(options ...string) (uintptr, error) {
	options = append([]string{"pocketsphinx"}, options...)
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
