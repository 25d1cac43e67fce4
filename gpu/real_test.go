package gpu

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/testkit"
)

func TestReal_AnswersThroughTheWorker(t *testing.T) {
	models := catalogue{}
	llm := models.add("llm", tinyFile(t))
	r := startReal(t, models, nil)
	text, count, err := answerOf(t.Context(), r.Runtime, llm, ask("what is the capital of france"))
	if err != nil || !strings.Contains(text, "Paris") || count < 3 {
		t.Fatalf("got %q in %d tokens, %v; want Paris in several", text, count, err)
	}
	// What a request says of sampling gets there.
	for name, change := range map[string]func(*functions.Generation){
		"temperature": func(g *functions.Generation) { g.Temperature, g.Seed = 5, 7 },
		"stop":        func(g *functions.Generation) { g.Stop = []string{"Paris"} },
		"repetition":  func(g *functions.Generation) { g.Repetition = 0.1 },
	} {
		req := ask("what is the capital of france")
		change(&req)
		if other, _, err := answerOf(t.Context(), r.Runtime, llm, req); err != nil || other == text {
			t.Errorf("%s: got %q, %v, as without it", name, other, err)
		}
	}
	for name, change := range map[string]func(*functions.Generation){
		"top_k": func(g *functions.Generation) { g.TopK = 1 },
		"top_p": func(g *functions.Generation) { g.TopP = 1e-9 },
		"min_p": func(g *functions.Generation) { g.MinP = 1 },
	} {
		req := ask("what is the capital of france")
		req.Temperature, req.Seed = 5, 7
		change(&req)
		if other, _, err := answerOf(t.Context(), r.Runtime, llm, req); err != nil || other != text {
			t.Errorf("%s: got %q, %v, want the greedy answer", name, other, err)
		}
	}
	s := statusOf(t, r.Runtime, llm)
	want := ModelStatus{Name: "llm", Version: llm.Digest, Device: "cpu", Tier: TierHot, Slots: DefaultSlots, PromptTokens: s.PromptTokens, MemBytes: s.MemBytes, WakeTime: s.WakeTime}
	if diff := cmp.Diff(s, want); diff != "" || s.MemBytes < 2<<20 || s.PromptTokens < 5 || s.WakeTime <= 0 {
		t.Errorf("status (-got +want)\n%s\n%+v", diff, s)
	}
	if n := r.starts.Load(); n != 1 {
		t.Errorf("%d workers were started, want 1", n)
	}
}

func TestReal_ManyCallersShareOneModel(t *testing.T) {
	models := catalogue{}
	llm := models.add("llm", tinyFile(t))
	r := startReal(t, models, nil)
	questions := map[string]string{
		"what is the capital of france": "Paris",
		"what is the capital of spain":  "Madrid",
		"what is the opposite of hot":   "cold",
		"what is two plus three":        "five",
	}
	var wg sync.WaitGroup
	for range 3 {
		for q, want := range questions {
			wg.Go(func() {
				text, _, err := answerOf(t.Context(), r.Runtime, llm, ask(q))
				if err != nil || !strings.Contains(text, want) {
					t.Errorf("%q: got %q, %v, want %q", q, text, err, want)
				}
			})
		}
	}
	wg.Wait()
	if n := r.starts.Load(); n != 1 {
		t.Errorf("%d workers were started, want 1", n)
	}
}

func TestReal_ParkedModelWakesAsItWas(t *testing.T) {
	models := catalogue{}
	llm := models.add("llm", tinyFile(t))
	r := startReal(t, models, func(c *Config) { c.IdleAfter = 20 * time.Millisecond })
	before, _, err := answerOf(t.Context(), r.Runtime, llm, ask("tell me a story about a brave owl"))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the model is parked", func() bool { return statusOf(t, r.Runtime, llm).Tier == TierParked })
	if s := statusOf(t, r.Runtime, llm); s.MemBytes != 0 {
		t.Errorf("parked, it holds %d bytes", s.MemBytes)
	}
	after, _, err := answerOf(t.Context(), r.Runtime, llm, ask("tell me a story about a brave owl"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
	if n := r.starts.Load(); n != 1 {
		t.Errorf("%d workers were started, want 1", n)
	}
}

func TestReal_KillOfTheWorkerFailsTheCallAndNotTheNext(t *testing.T) {
	models := catalogue{}
	llm := models.add("llm", tinyFile(t))
	r := startReal(t, models, nil)
	for range 3 {
		if err := r.Wake(t.Context(), llm); err != nil {
			t.Fatal(err)
		}
		// It is halted first: a fast machine would have the whole answer before the kill.
		halted := r.last.Load().Process
		if err := halted.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		tokens, err := r.Generate(t.Context(), llm, ask("tell me a story about a fox"))
		if err != nil {
			t.Fatal(err)
		}
		if err := halted.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _, _, err = read(t.Context(), tokens)
		if !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err) || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("got %v, want a retryable ErrUnavailable that says killed", err)
		}
		text, _, err := answerOf(t.Context(), r.Runtime, llm, ask("what is the capital of france"))
		if err != nil || !strings.Contains(text, "Paris") {
			t.Fatalf("the next call: %q, %v", text, err)
		}
	}
	if n := r.starts.Load(); n != 4 {
		t.Errorf("%d workers were started, want 4", n)
	}
}

func TestReal_BrokenFiles(t *testing.T) {
	whole, err := os.ReadFile(tinyFile(t))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	models := catalogue{}
	llm := models.add("llm", tinyFile(t))
	broken := map[string]functions.Ref{
		"text":       models.add("text", write("text", []byte("hello, I am not a model"))),
		"truncated":  models.add("truncated", write("truncated", whole[:len(whole)/2])),
		"magic":      models.add("magic", write("magic", append([]byte("GGML"), whole[4:]...))),
		"scrambled":  models.add("scrambled", write("scrambled", append(whole[:30:30], whole[:4000]...))),
		"no-tensors": models.add("no-tensors", write("no-tensors", []byte(strings.Replace(string(whole), "blk.4.ffn_up.weight", "blk.4.ffn_xp.weight", 1)))),
	}
	r := startReal(t, models, nil)
	for name, ref := range broken {
		if err := r.Prepare(t.Context(), ref); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want ErrInvalid that names the model", name, err)
		}
	}
	if err := r.Prepare(t.Context(), llm); err != nil {
		t.Errorf("the good one: %v", err)
	}
	if s := r.Status(); len(s) != 1 {
		t.Errorf("refused models are kept: %+v", s)
	}
	missing := models.add("missing", filepath.Join(t.TempDir(), "none"))
	if err := r.Prepare(t.Context(), missing); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("a missing file: got %v, want ErrNotFound", err)
	}
	if err := r.Prepare(t.Context(), functions.Ref{Name: "other", Digest: functions.DigestOf(nil)}); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("an unknown model: got %v, want ErrNotFound", err)
	}
}

// TestReal_WithoutTheLibrary: it shows in the files, costs no process, and is over when they are there.
func TestReal_WithoutTheLibrary(t *testing.T) {
	models := catalogue{}
	llm := models.add("llm", tinyFile(t))
	for _, dir := range []string{"", t.TempDir()} {
		r := startReal(t, models, func(c *Config) { c.LlamaLib = dir })
		if err := r.Unavailable(); !errors.Is(err, functions.ErrNoDevice) || !strings.Contains(err.Error(), "npm install") {
			t.Errorf("before any call: got %v, want ErrNoDevice with the remedy", err)
		}
		for range 2 {
			_, _, err := answerOf(t.Context(), r.Runtime, llm, ask("hello"))
			if !errors.Is(err, functions.ErrNoDevice) || !strings.Contains(err.Error(), "npm install") {
				t.Fatalf("got %v, want ErrNoDevice with the remedy", err)
			}
		}
		if err := r.Wake(t.Context(), llm); !errors.Is(err, functions.ErrNoDevice) {
			t.Errorf("wake: got %v, want ErrNoDevice", err)
		}
		if s := statusOf(t, r.Runtime, llm); s.Tier != TierUnavailable || !strings.Contains(s.Why, "npm install") {
			t.Errorf("status %+v", s)
		}
		if n := r.starts.Load(); n != 0 {
			t.Errorf("%d workers were started, want none", n)
		}
		if dir != "" {
			install(t, dir)
			text, _, err := answerOf(t.Context(), r.Runtime, llm, ask("what is the capital of france"))
			if err != nil || !strings.Contains(text, "Paris") {
				t.Errorf("with the library: %q, %v", text, err)
			}
		}
		r.stop()
	}
}

// install puts the library into dir.
func install(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testkit.LlamaLib(t), "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if err := os.Symlink(file, filepath.Join(dir, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReal_PromptLongerThanTheContext(t *testing.T) {
	models := catalogue{}
	llm := models.add("llm", tinyFile(t))
	r := startReal(t, models, nil)
	_, _, err := answerOf(t.Context(), r.Runtime, llm, ask(strings.Repeat("a little fox ", 300)))
	if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), "holds 256") {
		t.Errorf("got %v, want ErrInvalid with both numbers", err)
	}
	if _, _, err := answerOf(t.Context(), r.Runtime, llm, ask(strings.Repeat("a", 6<<20))); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("a message over the protocol's limit: got %v, want ErrInvalid", err)
	}
	if n := r.starts.Load(); n != 1 {
		t.Errorf("%d workers were started, want 1", n)
	}
}

func TestReal_EndOfRunEndsTheCalls(t *testing.T) {
	models := catalogue{}
	llm := models.add("llm", tinyFile(t))
	r := startReal(t, models, nil)
	if err := r.Wake(t.Context(), llm); err != nil {
		t.Fatal(err)
	}
	r.stop()
	if _, err := r.Generate(t.Context(), llm, ask("hello")); !errors.Is(err, functions.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if r.last.Load().ProcessState == nil {
		t.Error("the worker was not reaped")
	}
}

func TestReal_DeadlineInTheQueue(t *testing.T) {
	models := catalogue{}
	llm := models.add("llm", tinyFile(t))
	r := startReal(t, models, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the caller went away")
	cancel(reason)
	if _, err := r.Generate(ctx, llm, ask("hello")); !errors.Is(err, reason) {
		t.Errorf("got %v, want the cause of the context", err)
	}
}
