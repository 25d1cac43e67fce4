package llama

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/testkit"
)

// one is the process's only engine.
var one struct {
	once   sync.Once
	engine *Engine
	err    error
}

func testEngine(t testing.TB) *Engine {
	t.Helper()
	one.once.Do(func() {
		dir, err := os.MkdirTemp("", "links-")
		if err != nil {
			one.err = err
			return
		}
		defer os.RemoveAll(dir)
		one.engine, one.err = Open(Config{LibDir: testkit.LlamaLib(t), LinkDir: dir})
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			one.err = errors.Join(one.err, fmt.Errorf("Open left %v behind", left))
		}
	})
	if one.err != nil {
		t.Fatal(one.err)
	}
	return one.engine
}

func tinyFile(t testing.TB) string {
	return filepath.Join(testkit.Root(t), "examples", "voice", "model", "tiny-q8.gguf")
}

func tinyModel(t testing.TB, opt Options) *Model {
	t.Helper()
	m, _, err := testEngine(t).Load(tinyFile(t), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func ask(text string) functions.Generation {
	return functions.Generation{Messages: []functions.Message{{Role: "user", Content: text}}}
}

// run takes all steps of one answer, and leaves nothing in the slot.
func run(m *Model, req functions.Generation, emit func(functions.Token)) error {
	g, err := m.Start(0, req)
	if err != nil {
		return err
	}
	defer m.Clear(0)
	defer g.End()
	for {
		results, err := m.Step([]*Generation{g})
		if err != nil {
			return err
		}
		if results[0].OK {
			emit(results[0].Token)
		}
		if results[0].Token.Finish != "" {
			return nil
		}
	}
}

// answer returns the whole answer, its tokens, and how it ended.
func answer(t testing.TB, m *Model, req functions.Generation) (text string, tokens int, finish string) {
	t.Helper()
	err := run(m, req, func(tok functions.Token) {
		text += tok.Text
		tokens++
		finish = tok.Finish
	})
	if err != nil {
		t.Fatal(err)
	}
	return text, tokens, finish
}

func TestAnswersItsTopics(t *testing.T) {
	m := tinyModel(t, Options{})
	tests := []struct{ ask, want string }{
		{"what is the capital of france", "Paris"},
		{"what is two plus three", "five"},
		{"what is the opposite of hot", "cold"},
		{"tell me a story about a fox", "fox"},
	}
	for _, tt := range tests {
		text, tokens, finish := answer(t, m, ask(tt.ask))
		if !strings.Contains(text, tt.want) || finish != "stop" || tokens < 3 {
			t.Errorf("%q: got %q in %d tokens, finish %q, want %q", tt.ask, text, tokens, finish, tt.want)
		}
	}
}

func TestGreedyIsTheSameEveryTime(t *testing.T) {
	m := tinyModel(t, Options{})
	first, _, _ := answer(t, m, ask("tell me a story about a brave owl"))
	answer(t, m, ask("what is the capital of spain")) // what one call leaves must not reach the next
	second, _, _ := answer(t, m, ask("tell me a story about a brave owl"))
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("(-first +second)\n%s", diff)
	}
}

func TestTemperatureAndSeed(t *testing.T) {
	m := tinyModel(t, Options{})
	req := ask("tell me a story")
	req.Temperature, req.TopP, req.Seed = 1.2, 0.95, 7
	a, _, _ := answer(t, m, req)
	b, _, _ := answer(t, m, req)
	if a != b {
		t.Errorf("one seed gave two answers:\n%s\n%s", a, b)
	}
	texts := map[string]bool{a: true}
	for seed := uint32(8); seed < 12; seed++ {
		req.Seed = seed
		text, _, _ := answer(t, m, req)
		texts[text] = true
	}
	if len(texts) < 3 {
		t.Errorf("five seeds gave %d different answers", len(texts))
	}
}

// TestWhatMayBeSampled: each way to leave tokens out does so.
func TestWhatMayBeSampled(t *testing.T) {
	m := tinyModel(t, Options{})
	req := ask("tell me a story")
	greedy, _, _ := answer(t, m, req)
	req.Temperature, req.Seed = 5, 7 // nearly all tokens are as likely
	if wild, _, _ := answer(t, m, req); wild == greedy {
		t.Fatal("the temperature changes nothing")
	}
	for name, change := range map[string]func(*functions.Generation){
		"the likeliest alone":           func(g *functions.Generation) { g.TopK = 1 },
		"those as likely as that":       func(g *functions.Generation) { g.MinP = 1 },
		"those that are all but likely": func(g *functions.Generation) { g.TopP = 1e-9 },
	} {
		req := req
		change(&req)
		if text, _, _ := answer(t, m, req); text != greedy {
			t.Errorf("%s: got %q, want the greedy answer", name, text)
		}
	}
	again := ask("tell me a story")
	again.Repetition = 10
	text, _, _ := answer(t, m, again)
	repeats := func(text string) int {
		words := strings.Fields(text)
		slices.Sort(words)
		return len(words) - len(slices.Compact(words))
	}
	if repeats(text) >= repeats(greedy) {
		t.Errorf("%d words are repeated, and %d without a word against it:\n%s", repeats(text), repeats(greedy), text)
	}
}

// TestStopStrings: the answer ends before the first one, as if the model had, whatever tokens it is made of.
func TestStopStrings(t *testing.T) {
	m := tinyModel(t, Options{})
	whole, _, _ := answer(t, m, ask("tell me a story"))
	for _, at := range []int{0, 5, len(whole) / 2, len(whole) - 3} {
		req := ask("tell me a story")
		req.Stop = []string{"\x00", whole[at : at+3]}
		want, _, _ := strings.Cut(whole, req.Stop[1])
		text, _, finish := answer(t, m, req)
		if text != want || finish != finishStop {
			t.Errorf("stop at %q: got %q, %s; want %q", req.Stop[1], text, finish, want)
		}
	}
	req := ask("tell me a story")
	req.Stop = []string{whole[len(whole)-3:] + "!", "nowhere"} // begins, and does not come
	if text, _, _ := answer(t, m, req); text != whole {
		t.Errorf("got %q, want the whole answer", text)
	}
}

func TestMaxTokensAndFullContextEndWithLength(t *testing.T) {
	m := tinyModel(t, Options{})
	req := ask("tell me a story about a fox")
	req.MaxTokens = 5
	if _, tokens, finish := answer(t, m, req); tokens != 5 || finish != "length" {
		t.Errorf("got %d tokens, finish %q, want 5, length", tokens, finish)
	}
	small := tinyModel(t, Options{Context: 32})
	_, tokens, finish := answer(t, small, ask("tell me a story about a fox"))
	if finish != "length" || tokens < 2 || tokens > 32 {
		t.Errorf("small context: got %d tokens, finish %q, want length", tokens, finish)
	}
	// The prompt takes the rest of the context: places left plus the last token, which needs none, are the answer.
	prompt, err := small.prompt(ask("tell me a story about a fox").Messages)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tokens, 32-len(llama.Tokenize(small.vocab, prompt, true, true))+1; got != want {
		t.Errorf("small context: %d tokens, want %d", got, want)
	}
}

func TestPromptLongerThanTheContext(t *testing.T) {
	m := tinyModel(t, Options{Context: 64})
	err := run(m, ask(strings.Repeat("a little fox ", 100)), nil)
	if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), "64") {
		t.Fatalf("got %v, want ErrInvalid with both numbers", err)
	}
	if text, _, _ := answer(t, m, ask("what is the capital of france")); !strings.Contains(text, "Paris") {
		t.Errorf("afterwards: %q", text)
	}
}

func TestParkAndWake(t *testing.T) {
	m := tinyModel(t, Options{})
	before, _, _ := answer(t, m, ask("tell me a story about a shy bear"))
	held := m.held
	if r := m.Park(); r.Bytes != held || r.MemBytes != 0 || held < 2<<20 {
		t.Errorf("park freed %d bytes and holds %d, want %d and 0", r.Bytes, r.MemBytes, held)
	}
	m.Park()
	if err := run(m, ask("hello"), nil); !errors.Is(err, functions.ErrConflict) {
		t.Errorf("parked: got %v, want ErrConflict", err)
	}
	r, err := m.Wake()
	if err != nil || r.MemBytes != held || r.Bytes != held {
		t.Fatalf("wake: %+v, %v, want %d bytes", r, err, held)
	}
	after, _, _ := answer(t, m, ask("tell me a story about a shy bear"))
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("after the wake (-before +after)\n%s", diff)
	}
}

func TestBadRequests(t *testing.T) {
	m := tinyModel(t, Options{})
	tests := []struct {
		name   string
		change func(*functions.Generation)
	}{
		{"no messages", func(g *functions.Generation) { g.Messages = nil }},
		{"unknown role", func(g *functions.Generation) { g.Messages[0].Role = "tool" }},
		{"zero byte", func(g *functions.Generation) { g.Messages[0].Content = "a\x00b" }},
		{"negative max_tokens", func(g *functions.Generation) { g.MaxTokens = -1 }},
		{"negative temperature", func(g *functions.Generation) { g.Temperature = -1 }},
		{"top_p over 1", func(g *functions.Generation) { g.TopP = 1.5 }},
		{"negative top_k", func(g *functions.Generation) { g.TopK = -1 }},
		{"min_p that is no number", func(g *functions.Generation) { g.MinP = math.NaN() }},
		{"huge repetition", func(g *functions.Generation) { g.Repetition = 1e9 }},
		{"empty stop string", func(g *functions.Generation) { g.Stop = []string{"x", ""} }},
		{"many stop strings", func(g *functions.Generation) { g.Stop = slices.Repeat([]string{"x"}, maxStops+1) }},
		{"huge", func(g *functions.Generation) { g.Messages[0].Content = strings.Repeat("a", maxPromptBytes+1) }},
	}
	for _, tt := range tests {
		req := ask("hello")
		tt.change(&req)
		if err := run(m, req, nil); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", tt.name, err)
		}
	}
	// Odd, but allowed.
	for _, content := range []string{"", "日本語 \U0001F98A", "\xff\xfe", "<|im_end|>", strings.Repeat("\n", 50)} {
		answer(t, m, ask(content))
	}
}

func TestLoadRefuses(t *testing.T) {
	engine := testEngine(t)
	whole, err := os.ReadFile(tinyFile(t))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		data []byte
		opt  Options
		want string
	}{
		{"empty", nil, Options{}, "ends inside its header"},
		{"text", []byte("this is a text file, not a model\n"), Options{}, "begins with"},
		{"wrong magic", append([]byte("GGML"), whole[4:]...), Options{}, "begins with"},
		{"big-endian version", append([]byte("GGUF\x00\x00\x00\x03"), whole[8:]...), Options{}, "version"},
		{"cut in the header", whole[:1000], Options{}, "header"},
		{"cut in the data", whole[:len(whole)-4096], Options{}, "cut off"},
		{"no template", []byte(strings.Replace(string(whole), "tokenizer.chat_template", "tokenizer.chat_tenplate", 1)), Options{}, "chat template"},
		{"unknown template", []byte(strings.ReplaceAll(string(whole), "'<|im_start|>", "'<|xx_xxxxx|>")), Options{}, "chat template"},
		{"unknown architecture", []byte(strings.Replace(string(whole), "\x05\x00\x00\x00\x00\x00\x00\x00llama", "\x05\x00\x00\x00\x00\x00\x00\x00lxxma", 1)), Options{}, "libllama"},
		{"token twice", []byte(strings.Replace(string(whole), "<0x0A>", "<0x0B>", 1)), Options{}, "twice"},
		{"missing byte", []byte(strings.Replace(string(whole), "<0x0A>", "<0x0a>", 1)), Options{}, "0x0A"},
		{"missing tensor", []byte(strings.Replace(string(whole), "blk.0.attn_q.weight", "blk.0.attn_x.weight", 1)), Options{}, "attn_q"},
		{"context too long", whole, Options{Context: 512}, "512"},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "model.gguf")
		if err := os.WriteFile(path, tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := engine.Load(path, tt.opt)
		if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want ErrInvalid with %q", tt.name, err, tt.want)
		}
	}
	if _, _, err := engine.Load(filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("no file: got %v, want ErrNotFound", err)
	}
	if _, _, err := engine.Load(t.TempDir(), Options{}); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("a folder: got %v, want ErrInvalid", err)
	}
}

func TestTensorTypesAreTheLibrarys(t *testing.T) {
	testEngine(t)
	for kind := range uint32(llama.GGMLTypeCOUNT) {
		size := int64(llama.GGMLTypeSize(llama.GGMLType(kind)))
		got := tensorTypes[kind]
		if size == 0 {
			if got.bytes != 0 {
				t.Errorf("type %d is not in use any more", kind)
			}
			continue
		}
		if want := (block{llama.GGMLBlockSize(llama.GGMLType(kind)), size}); got != want {
			t.Errorf("type %d: got %v, want %v", kind, got, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	fill := func(names ...string) string {
		dir := t.TempDir()
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name+suffix()), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	tests := []struct{ name, dir, want string }{
		{"no folder given", "", "no folder"},
		{"a missing folder", filepath.Join(t.TempDir(), "none"), "can't be read"},
		{"an empty folder", t.TempDir(), "holds no libllama"},
		{"another release", fill("libllama.v0.6.0", "libggml.v0.6.0", "libggml-base"), "v0.6.0"},
		{"an unnamed release", fill("libllama", "libggml", "libggml-base"), "does not say its release"},
		{"no ggml", fill("libllama.v0.5.0", "libggml-base"), "lacks libggml.v0.5.0"},
		{"no ggml-base", fill("libllama.v0.5.0", "libggml.v0.5.0"), "lacks libggml-base"},
		{"another release, with CUDA", fill("libllama.cuda.v0.6.0", "libggml.cuda.v0.6.0", "libggml-base"), "v0.6.0"},
		{"ggml without CUDA", fill("libllama.cuda.v0.5.0", "libggml.v0.5.0", "libggml-base"), "lacks libggml.cuda.v0.5.0"},
		{"not a library", fill("libllama.v0.5.0", "libggml.v0.5.0", "libggml-base"), "can't be loaded"},
	}
	for _, tt := range tests {
		_, err := Open(Config{LibDir: tt.dir, LinkDir: t.TempDir()})
		if !errors.Is(err, functions.ErrNoDevice) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "npm install") {
			t.Errorf("%s: got %v, want ErrNoDevice with %q and the remedy", tt.name, err, tt.want)
		}
	}
}
