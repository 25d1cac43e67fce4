package llama

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/catenary-run/catenary/functions"
)

func tinyBytes(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(tinyFile(t))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func fromBytes(t testing.TB, data []byte) *Model {
	t.Helper()
	m, _, err := testEngine(t).LoadBytes(data, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// logits are those of the last token of a prompt, in full.
func logits(t testing.TB, m *Model) []float32 {
	t.Helper()
	if err := m.decode(0, []llama.Token{1, 40, 70, 300, 12}); err != nil {
		t.Fatal(err)
	}
	if err := m.Synchronize(); err != nil {
		t.Fatal(err)
	}
	all, err := llama.GetLogitsIth(m.ctx, -1, int(llama.VocabNTokens(m.vocab)))
	if err != nil {
		t.Fatal(err)
	}
	all = append([]float32(nil), all...)
	if err := m.Clear(0); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestBytesAndFileAreTheSameModel: bit for bit, also after a wake.
func TestBytesAndFileAreTheSameModel(t *testing.T) {
	m := fromBytes(t, tinyBytes(t))
	file := tinyModel(t, Options{})
	want := logits(t, file)
	if len(want) < 1000 {
		t.Fatalf("%d logits", len(want))
	}
	for _, when := range []string{"loaded", "woken"} {
		if diff := cmp.Diff(want, logits(t, m)); diff != "" {
			t.Errorf("%s: other logits (-file +bytes)\n%s", when, diff)
		}
		m.Park()
		if err := m.Synchronize(); !errors.Is(err, functions.ErrConflict) {
			t.Errorf("parked: got %v, want ErrConflict", err)
		}
		if r, err := m.Wake(); err != nil || r.MemBytes != file.held {
			t.Fatalf("wake: %+v, %v, want %d bytes", r, err, file.held)
		}
	}
}

// TestTensorsSayWhereTheyWent: each of the file's, with the bytes that the file has at that place.
func TestTensorsSayWhereTheyWent(t *testing.T) {
	data := tinyBytes(t)
	m := fromBytes(t, data)
	h, err := Inspect(tinyFile(t))
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	seen := map[string]bool{}
	for _, tensor := range m.Tensors() {
		if tensor.At == 0 || seen[tensor.Name] {
			t.Errorf("tensor %+v", tensor.Name)
		}
		seen[tensor.Name] = true
		sum += int64(len(tensor.Data))
	}
	if len(seen) != h.Tensors || sum != h.TensorBytes {
		t.Errorf("%d tensors with %d bytes, want %d with %d", len(seen), sum, h.Tensors, h.TensorBytes)
	}
	if &m.Tensors()[0].Data[0] != &data[bytes.Index(data, m.Tensors()[0].Data)] {
		t.Error("a tensor's data is not a part of the file")
	}
}

func TestLoadBytesRefuses(t *testing.T) {
	engine := testEngine(t)
	whole := tinyBytes(t)
	replaced := func(old, new string) []byte { return []byte(strings.Replace(string(whole), old, new, 1)) }
	// The scale of the first block of a tensor, which is an f16: not a number.
	broken := bytes.Clone(whole)
	m := fromBytes(t, whole)
	for _, tensor := range m.Tensors() {
		if tensor.Name == "blk.0.attn_q.weight" {
			copy(broken[bytes.Index(whole, tensor.Data):], "\xff\x7f")
		}
	}
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "ends inside its header"},
		{"cut in the data", whole[:len(whole)-4096], "cut off"},
		{"no template", replaced("tokenizer.chat_template", "tokenizer.chat_tenplate"), "chat template"},
		{"unknown architecture", replaced("\x05\x00\x00\x00\x00\x00\x00\x00llama", "\x05\x00\x00\x00\x00\x00\x00\x00lxxma"), "libllama"},
		{"missing tensor", replaced("blk.0.attn_q.weight", "blk.0.attn_x.weight"), "attn_q"},
		{"not a number", broken, "attn_q"},
	}
	for _, tt := range tests {
		_, _, err := engine.LoadBytes(tt.data, Options{})
		if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want ErrInvalid with %q", tt.name, err, tt.want)
		}
	}
	if _, _, err := engine.LoadBytes(whole, Options{DeviceLayers: -1}); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("negative layers: got %v, want ErrInvalid", err)
	}
	if text, _, _ := answer(t, m, ask("what is the capital of france")); !strings.Contains(text, "Paris") {
		t.Errorf("afterwards: %q", text)
	}
}

// TestResetForgetsAllSlots: as if a device had lost them.
func TestResetForgetsAllSlots(t *testing.T) {
	m := tinyModel(t, Options{Slots: 2})
	var want []string
	for range 2 {
		for slot := range 2 {
			g := begin(t, m, slot, ask("tell me a story about a shy bear"))
			if _, reused := g.Prompt(); reused != 0 {
				t.Errorf("slot %d has %d tokens from before", slot, reused)
			}
			want = append(want, rest(t, g))
		}
		if err := m.Reset(); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range want {
		if text != want[0] || text == "" {
			t.Errorf("got %q, want %q", text, want[0])
		}
	}
	m.Park()
	if err := m.Reset(); err != nil {
		t.Errorf("parked: %v", err)
	}
}
