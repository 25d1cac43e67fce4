package llama

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/catenary-run/catenary/functions"
)

// Bounds of a header. The largest models published stay a factor of ten below each.
const (
	maxPairs     = 1 << 14
	maxTensors   = 1 << 17
	maxKeyBytes  = 1 << 10
	maxTextBytes = 1 << 24 // of one string: a chat template, a token
	maxNameBytes = 63      // of a tensor: ggml's own bound
	maxDims      = 4       // ggml's own bound
	maxAlignment = 1 << 20
	maxVocab     = 1 << 21 // tokens; the largest vocabularies have about 2^18
	maxVocabText = 1 << 26 // bytes of all tokens together
)

// modelBounds are of numbers that C code divides by, sizes buffers with, or aborts on.
var modelBounds = []struct {
	name     string
	min, max int64
}{
	{"context_length", 1, math.MaxInt32},
	{"embedding_length", 1, 1 << 20},
	{"feed_forward_length", 0, 1 << 24},
	{"block_count", 1, 512}, // LLAMA_MAX_LAYERS
	{"attention.head_count", 1, 1 << 14},
	{"attention.head_count_kv", 0, 1 << 14},
	{"attention.key_length", 0, 1 << 16},
	{"attention.value_length", 0, 1 << 16},
	{"rope.dimension_count", 0, 1 << 16},
	{"expert_count", 0, 1 << 12},
	{"expert_used_count", 0, 1 << 12},
	{"vocab_size", 0, maxVocab},
}

// Header is what Inspect learned from a GGUF file.
type Header struct {
	Version      uint32
	Architecture string
	Context      int   // tokens that the model was trained for; 0 if the file does not say
	Tensors      int   // how many
	TensorBytes  int64 // of their data
	HasTemplate  bool  // there is a chat template
}

// Inspect reads the header of the GGUF file at path and checks that everything it names lies inside the file. It
// returns an error wrapping [functions.ErrInvalid] that says what is wrong and where.
func Inspect(path string) (Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return Header{}, fmt.Errorf("%w: model file: %v", functions.ErrNotFound, errors.Unwrap(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Header{}, err
	}
	if !info.Mode().IsRegular() {
		return Header{}, fmt.Errorf("%w: the model is not a regular file", functions.ErrInvalid)
	}
	return parseHeader(f, info.Size())
}

// parseHeader reads a header from r, the start of a file of size bytes. It holds no more than one string at a time.
func parseHeader(r io.Reader, size int64) (Header, error) {
	p := &headerReader{r: bufio.NewReaderSize(r, 64<<10), size: size}
	h := p.header()
	if p.err != nil {
		return Header{}, fmt.Errorf("%w: not a usable GGUF file: %v (at byte %d of %d)", functions.ErrInvalid, p.err, p.at, size)
	}
	return h, nil
}

// headerReader remembers the first fault; after it every read returns zero.
type headerReader struct {
	r    *bufio.Reader
	size int64 // of the file
	at   int64 // how much has been read
	err  error
}

func (p *headerReader) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

func (p *headerReader) header() Header {
	var h Header
	magic := p.bytes(4)
	if p.err == nil && string(magic) != "GGUF" {
		p.fail("it begins with %q, not with GGUF", magic)
	}
	h.Version = p.u32()
	if p.err == nil && h.Version != 2 && h.Version != 3 {
		p.fail("version %d; versions 2 and 3 (little-endian) are known", h.Version)
	}
	tensors, pairs := p.u64(), p.u64()
	if p.err == nil && (tensors == 0 || tensors > maxTensors) {
		p.fail("%d tensors; 1 to %d are allowed", tensors, maxTensors)
	}
	if pairs > maxPairs {
		p.fail("%d metadata pairs; at most %d are allowed", pairs, maxPairs)
	}
	alignment := p.metadata(&h, pairs)
	h.Tensors = int(tensors)
	p.tensors(&h, alignment)
	return h
}

// metadata reads the key-value pairs and returns the alignment of the tensor data.
func (p *headerReader) metadata(h *Header, pairs uint64) int64 {
	alignment := int64(32) // the format's default
	tokenizer := ""
	var vocab map[string]bool
	numbers := map[string]int64{}
	seen := map[string]bool{}
	for i := uint64(0); i < pairs && p.err == nil; i++ {
		key := p.text("key", maxKeyBytes)
		if p.err == nil && (key == "" || seen[key]) {
			p.fail("metadata key %q is empty or there twice", key)
		}
		seen[key] = true
		kind := p.u32()
		switch key {
		case "general.architecture":
			if kind != ggufString {
				p.fail("%s is not a string", key)
			}
			h.Architecture = p.text(key, maxKeyBytes)
		case "tokenizer.chat_template":
			if kind != ggufString {
				p.fail("%s is not a string", key)
			}
			h.HasTemplate = p.text(key, maxTextBytes) != ""
		case "tokenizer.ggml.model":
			if kind != ggufString {
				p.fail("%s is not a string", key)
			}
			tokenizer = p.text(key, maxKeyBytes)
		case "tokenizer.ggml.tokens":
			if kind != ggufArray {
				p.fail("%s is not an array", key)
			}
			vocab = p.vocabulary(key)
		default:
			if n, ok := p.value(key, kind); ok {
				numbers[key] = n
			}
		}
	}
	if p.err == nil && h.Architecture == "" {
		p.fail("the metadata has no general.architecture")
	}
	if tokenizer == "llama" {
		p.checkBytes(vocab)
	}
	if n, ok := numbers["general.alignment"]; ok {
		if n <= 0 || n > maxAlignment || n&(n-1) != 0 {
			p.fail("general.alignment is %d, not a power of two up to %d", n, maxAlignment)
		}
		alignment = n
	}
	for _, b := range modelBounds {
		key := h.Architecture + "." + b.name
		if n, ok := numbers[key]; ok && (n < b.min || n > b.max) {
			p.fail("%s is %d; %d to %d are allowed", key, n, b.min, b.max)
		}
	}
	if used, of := numbers[h.Architecture+".expert_used_count"], numbers[h.Architecture+".expert_count"]; used > of {
		p.fail("it uses %d of %d experts", used, of)
	}
	h.Context = int(numbers[h.Architecture+".context_length"])
	return alignment
}

// vocabulary reads the tokens. The library reads each up to its first zero byte, gives empty ones a name of its own, and
// aborts on one that is there twice.
func (p *headerReader) vocabulary(key string) map[string]bool {
	kind, count := p.u32(), p.u64()
	if p.err == nil && (kind != ggufString || count > maxVocab) {
		p.fail("%s holds %d values of type %d; at most %d strings are allowed", key, count, kind, maxVocab)
	}
	tokens := map[string]bool{}
	bytes := 0
	for i := uint64(0); i < count && p.err == nil; i++ {
		token := p.text("a token", maxTextBytes)
		if bytes += len(token); bytes > maxVocabText {
			p.fail("%s has more than %d bytes", key, maxVocabText)
		}
		token, _, _ = strings.Cut(token, "\x00")
		if p.err == nil && token != "" && tokens[token] {
			p.fail("token %d, %.40q, is in the vocabulary twice", i, token)
		}
		tokens[token] = true
	}
	return tokens
}

// checkBytes refuses a vocabulary that has no token for some byte: the library aborts on a text with it.
func (p *headerReader) checkBytes(vocab map[string]bool) {
	for b := range 256 {
		if !vocab[fmt.Sprintf("<0x%02X>", b)] && !vocab[string([]byte{byte(b)})] {
			p.fail("the vocabulary has no token for the byte 0x%02X", b)
			return
		}
	}
}

// tensors reads the tensor descriptions and checks that each lies inside the file.
func (p *headerReader) tensors(h *Header, alignment int64) {
	type extent struct {
		name       string
		start, end int64 // in the data section
	}
	var last extent
	seen := map[string]bool{}
	for i := 0; i < h.Tensors && p.err == nil; i++ {
		name := p.text("tensor name", maxNameBytes)
		if p.err == nil && (name == "" || seen[name]) {
			p.fail("tensor name %q is empty or there twice", name)
		}
		seen[name] = true
		dims := p.u32()
		if dims == 0 || dims > maxDims {
			p.fail("tensor %s has %d dimensions; 1 to %d are allowed", name, dims, maxDims)
			return
		}
		elems, row := int64(1), int64(0)
		for d := range dims {
			n := p.u64()
			if p.err == nil && (n == 0 || n > math.MaxInt64/uint64(elems)) {
				p.fail("tensor %s has a dimension of %d", name, n)
				return
			}
			if d == 0 {
				row = int64(n)
			}
			elems *= max(1, int64(n))
		}
		kind, offset := p.u32(), p.u64()
		if p.err != nil {
			return
		}
		bytes, err := tensorBytes(kind, elems, row)
		if err != nil {
			p.fail("tensor %s: %v", name, err)
			return
		}
		if offset > uint64(p.size) || int64(offset)%alignment != 0 || bytes > p.size {
			p.fail("tensor %s: %d bytes at offset %d do not fit or are not aligned to %d", name, bytes, offset, alignment)
			return
		}
		h.TensorBytes += bytes
		if e := (extent{name, int64(offset), int64(offset) + bytes}); e.end > last.end {
			last = e
		}
	}
	data := (p.at + alignment - 1) / alignment * alignment
	if p.err == nil && data+last.end > p.size {
		p.fail("it is cut off: tensor %s ends at byte %d", last.name, data+last.end)
	}
}

// Kinds of metadata values.
const (
	ggufString = 8
	ggufArray  = 9
)

// scalarBytes gives the size of the kinds that have one: 8, 16, 32-bit integers, float32, bool, 64-bit integers, float64.
var scalarBytes = map[uint32]int{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

// value skips one metadata value. It returns the value if it is an integer.
func (p *headerReader) value(key string, kind uint32) (int64, bool) {
	switch kind {
	case ggufString:
		p.skipText(key)
		return 0, false
	case ggufArray:
		p.array(key)
		return 0, false
	}
	n, ok := scalarBytes[kind]
	if !ok {
		p.fail("%s has the unknown type %d", key, kind)
		return 0, false
	}
	b := p.bytes(n)
	if p.err != nil {
		return 0, false
	}
	switch kind {
	case 0:
		return int64(b[0]), true
	case 1:
		return int64(int8(b[0])), true
	case 2:
		return int64(binary.LittleEndian.Uint16(b)), true
	case 3:
		return int64(int16(binary.LittleEndian.Uint16(b))), true
	case 4:
		return int64(binary.LittleEndian.Uint32(b)), true
	case 5:
		return int64(int32(binary.LittleEndian.Uint32(b))), true
	case 10, 11:
		return int64(binary.LittleEndian.Uint64(b)), true // one over MaxInt64 turns negative and is refused as such
	}
	return 0, false
}

func (p *headerReader) array(key string) {
	kind, count := p.u32(), p.u64()
	if p.err != nil {
		return
	}
	if kind == ggufString {
		for i := uint64(0); i < count && p.err == nil; i++ { // every turn reads 8 bytes of the file at least
			p.skipText(key)
		}
		return
	}
	n, ok := scalarBytes[kind]
	if !ok {
		p.fail("%s is an array of the unknown type %d", key, kind)
		return
	}
	if count > uint64(p.size) {
		p.fail("%s has %d elements", key, count)
		return
	}
	p.skip(int64(count) * int64(n))
}

func (p *headerReader) bytes(n int) []byte {
	if p.err != nil {
		return nil
	}
	if int64(n) > p.size-p.at {
		p.fail("the file ends inside its header")
		return nil
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(p.r, b); err != nil {
		p.fail("read: %v", err)
		return nil
	}
	p.at += int64(n)
	return b
}

func (p *headerReader) skip(n int64) {
	if p.err != nil {
		return
	}
	if n > p.size-p.at {
		p.fail("the file ends inside its header")
		return
	}
	if _, err := io.CopyN(io.Discard, p.r, n); err != nil {
		p.fail("read: %v", err)
		return
	}
	p.at += n
}

func (p *headerReader) u32() uint32 {
	if b := p.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (p *headerReader) u64() uint64 {
	if b := p.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// text reads a string of at most limit bytes.
func (p *headerReader) text(what string, limit int) string {
	n := p.u64()
	if n > uint64(limit) {
		p.fail("%s has %d bytes; at most %d are allowed", what, n, limit)
		return ""
	}
	return string(p.bytes(int(n)))
}

func (p *headerReader) skipText(what string) {
	n := p.u64()
	if n > maxTextBytes {
		p.fail("a string of %s has %d bytes; at most %d are allowed", what, n, maxTextBytes)
		return
	}
	p.skip(int64(n))
}
