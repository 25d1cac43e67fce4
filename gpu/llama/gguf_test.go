package llama

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
)

func TestInspect(t *testing.T) {
	got, err := Inspect(tinyFile(t))
	if err != nil {
		t.Fatal(err)
	}
	want := Header{Version: 3, Architecture: "llama", Context: 256, Tensors: 47, TensorBytes: got.TensorBytes, HasTemplate: true}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
	if got.TensorBytes < 2_600_000 || got.TensorBytes > 2_710_000 {
		t.Errorf("tensors have %d bytes", got.TensorBytes)
	}
}

// builder writes a header.
type builder struct{ bytes.Buffer }

func (b *builder) put(v any) *builder {
	_ = binary.Write(b, binary.LittleEndian, v)
	return b
}
func (b *builder) str(s string) *builder {
	b.put(uint64(len(s)))
	b.WriteString(s)
	return b
}
func start(tensors, pairs uint64) *builder {
	b := &builder{}
	b.WriteString("GGUF")
	return b.put(uint32(3)).put(tensors).put(pairs)
}
func (b *builder) arch() *builder {
	return b.str("general.architecture").put(uint32(ggufString)).str("llama")
}
func (b *builder) tensor(name string, kind uint32, offset uint64, dims ...uint64) *builder {
	return b.str(name).put(uint32(len(dims))).put(dims).put(kind).put(offset)
}
func (b *builder) data(n int) []byte {
	pad := (32 - b.Len()%32) % 32
	b.Write(make([]byte, pad+n))
	return b.Bytes()
}

func TestParseHeader(t *testing.T) {
	tests := []struct {
		name string
		data []byte
		want string // in the error; empty if it is good
	}{
		{"good", start(1, 1).arch().tensor("a", 0, 0, 4, 2).data(32), ""},
		{"good with all kinds of values", start(1, 5).arch().
			str("x.bool").put(uint32(7)).put(true).
			str("x.arr").put(uint32(ggufArray)).put(uint32(4)).put(uint64(3)).put([3]uint32{}).
			str("x.strs").put(uint32(ggufArray)).put(uint32(ggufString)).put(uint64(2)).str("a").str("b").
			str("x.f64").put(uint32(12)).put(1.5).
			tensor("a", 0, 0, 4, 2).data(32), ""},
		{"no tensors", start(0, 1).arch().data(0), "0 tensors"},
		{"too many tensors", start(1<<40, 1).arch().data(0), "tensors"},
		{"too many pairs", start(1, 1<<40).arch().data(0), "metadata pairs"},
		{"no architecture", start(1, 0).tensor("a", 0, 0, 4).data(32), "general.architecture"},
		{"architecture is a number", start(1, 1).str("general.architecture").put(uint32(4)).put(uint32(1)).data(0), "not a string"},
		{"key twice", start(1, 2).arch().arch().tensor("a", 0, 0, 4).data(32), "twice"},
		{"unknown value type", start(1, 2).arch().str("k").put(uint32(77)).data(0), "unknown type 77"},
		{"array of arrays", start(1, 2).arch().str("k").put(uint32(9)).put(uint32(9)).put(uint64(1)).data(0), "array of the unknown type 9"},
		{"endless array", start(1, 2).arch().str("k").put(uint32(9)).put(uint32(4)).put(uint64(1 << 62)).data(0), "elements"},
		{"endless array of strings", start(1, 2).arch().str("k").put(uint32(9)).put(uint32(8)).put(uint64(1 << 62)).data(0), "header"},
		{"endless key", start(1, 1).put(uint64(1 << 62)).data(0), "key has"},
		{"endless string", start(1, 2).arch().str("k").put(uint32(8)).put(uint64(1 << 62)).data(0), "a string of k"},
		{"token twice", start(1, 2).arch().str("tokenizer.ggml.tokens").put(uint32(9)).put(uint32(8)).put(uint64(3)).str("a").str("b").str("a").data(0), "twice"},
		{"token twice for C", start(1, 2).arch().str("tokenizer.ggml.tokens").put(uint32(9)).put(uint32(8)).put(uint64(2)).str("a").str("a\x00b").data(0), "twice"},
		{"empty tokens", start(1, 2).arch().str("tokenizer.ggml.tokens").put(uint32(9)).put(uint32(8)).put(uint64(2)).str("").str("").tensor("a", 0, 0, 4).data(32), ""},
		{"tokens are numbers", start(1, 2).arch().str("tokenizer.ggml.tokens").put(uint32(9)).put(uint32(4)).put(uint64(1)).put(uint32(1)).data(0), "type 4"},
		{"tokens are no array", start(1, 2).arch().str("tokenizer.ggml.tokens").put(uint32(4)).put(uint32(1)).data(0), "not an array"},
		{"no byte tokens", start(1, 3).arch().str("tokenizer.ggml.model").put(uint32(8)).str("llama").
			str("tokenizer.ggml.tokens").put(uint32(9)).put(uint32(8)).put(uint64(1)).str("a").tensor("a", 0, 0, 4).data(32), "byte 0x00"},
		{"bad alignment", start(1, 2).arch().str("general.alignment").put(uint32(4)).put(uint32(33)).tensor("a", 0, 0, 4).data(32), "power of two"},
		{"no heads", start(1, 2).arch().str("llama.attention.head_count").put(uint32(4)).put(uint32(0)).tensor("a", 0, 0, 4).data(32), "head_count is 0"},
		{"negative layers", start(1, 2).arch().str("llama.block_count").put(uint32(5)).put(int32(-1)).tensor("a", 0, 0, 4).data(32), "block_count is -1"},
		{"tensor twice", start(2, 1).arch().tensor("a", 0, 0, 4).tensor("a", 0, 32, 4).data(64), "twice"},
		{"tensor name too long", start(1, 1).arch().tensor(strings.Repeat("a", 64), 0, 0, 4).data(32), "64 bytes"},
		{"no dimensions", start(1, 1).arch().tensor("a", 0, 0).data(32), "0 dimensions"},
		{"five dimensions", start(1, 1).arch().tensor("a", 0, 0, 1, 1, 1, 1, 1).data(32), "5 dimensions"},
		{"dimension 0", start(1, 1).arch().tensor("a", 0, 0, 4, 0).data(32), "dimension of 0"},
		{"dimensions overflow", start(1, 1).arch().tensor("a", 0, 0, 1<<40, 1<<40).data(32), "dimension of"},
		{"bytes overflow", start(1, 1).arch().tensor("a", 28, 0, 1<<62).data(32), "too many"},
		{"unknown tensor type", start(1, 1).arch().tensor("a", 99, 0, 4).data(32), "type 99"},
		{"half a block", start(1, 1).arch().tensor("a", 8, 0, 33).data(64), "whole blocks"},
		{"unaligned", start(1, 1).arch().tensor("a", 0, 1, 4).data(64), "aligned"},
		{"offset beyond the file", start(1, 1).arch().tensor("a", 0, 1<<62, 4).data(32), "do not fit"},
		{"data cut off", start(1, 1).arch().tensor("a", 0, 0, 4, 2).data(31), "cut off"},
	}
	for _, tt := range tests {
		_, err := parseHeader(bytes.NewReader(tt.data), int64(len(tt.data)))
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (!errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v, want ErrInvalid with %q", tt.name, err, tt.want)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(start(1, 1).arch().tensor("a", 0, 0, 4, 2).data(32))
	f.Add([]byte("GGUF"))
	if whole, err := os.ReadFile(tinyFile(f)); err == nil {
		f.Add(whole[:4096])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseHeader(bytes.NewReader(data), int64(len(data)))
		switch {
		case err != nil && !errors.Is(err, functions.ErrInvalid):
			t.Errorf("got %v, want ErrInvalid", err)
		case err == nil && (h.Tensors == 0 || h.TensorBytes <= 0):
			t.Errorf("accepted %+v", h)
		}
	})
}
