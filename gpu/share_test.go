package gpu

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/testkit"
)

// conversations that the real model is asked to have, at most as long as its context.
var conversations = [][]string{
	{"what is the capital of france", "what is the capital of spain", "what is two plus three"},
	{"tell me a story about a fox", "what is the opposite of hot"},
	{"what is two plus three", "what is the opposite of hot", "what is the capital of france"},
	{"tell me a story about a brave owl", "what is the capital of spain"},
}

// talk has a conversation as one session, and returns the answers. cut says after how many tokens the caller goes away
// from an answer; a negative number lets it end.
func talk(ctx context.Context, r *Runtime, ref functions.Ref, session string, says []string, cut func() int) (answers []string, err error) {
	var messages []functions.Message
	for _, say := range says {
		messages = append(messages, functions.Message{Role: "user", Content: say})
		text, err := sayOne(ctx, r, ref, functions.Generation{Messages: messages, Session: session}, cut())
		if err != nil {
			return answers, err
		}
		answers = append(answers, text)
		messages = append(messages, functions.Message{Role: "assistant", Content: text})
	}
	return answers, nil
}

func sayOne(ctx context.Context, r *Runtime, ref functions.Ref, req functions.Generation, cut int) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tokens, err := r.Generate(ctx, ref, req)
	if err != nil {
		return "", err
	}
	defer tokens.Close()
	if cut < 0 {
		text, _, _, err := read(ctx, tokens)
		return text, err
	}
	text, _, _, err := readSome(tokens, cut)
	if !errors.Is(err, errEnough) {
		return text, err
	}
	cancel(functions.ErrInterrupted)
	// What was on the way comes first: perhaps the end.
	if _, _, _, err := read(context.Background(), tokens); err != nil && !errors.Is(err, functions.ErrInterrupted) {
		return text, fmt.Errorf("after the interruption: %w", err)
	}
	return text, nil
}

func whole() int { return -1 }

// TestReal_SessionsBesideOthersAnswerAsAlone: 20 sessions on fewer slots, some of whose answers are cut off at random,
// with evictions all the while.
func TestReal_SessionsBesideOthersAnswerAsAlone(t *testing.T) {
	models := catalogue{}
	llm := models.add("llm", tinyFile(t))
	r := startReal(t, models, func(c *Config) { c.Slots = 4 })
	var alone [][]string
	for i, says := range conversations {
		answers, err := talk(t.Context(), r.Runtime, llm, fmt.Sprint("alone ", i), says, whole)
		if err != nil {
			t.Fatal(err)
		}
		alone = append(alone, answers)
		r.EndSession(fmt.Sprint("alone ", i))
	}
	before := statusOf(t, r.Runtime, llm)
	if before.ReusedTokens == 0 || before.Slots != 4 || before.Sessions != 0 {
		t.Errorf("%+v, want tokens reused in four slots, and no session left", before)
	}
	goroutines := runtime.NumGoroutine()

	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			session := fmt.Sprint("session ", i)
			defer r.EndSession(session)
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			says, want := conversations[i%len(conversations)], alone[i%len(conversations)]
			if i%3 == 0 {
				if _, err := talk(t.Context(), r.Runtime, llm, session, says, func() int { return rnd.IntN(12) }); err != nil {
					t.Errorf("session %d: %v", i, err)
				}
				return
			}
			got, err := talk(t.Context(), r.Runtime, llm, session, says, whole)
			if err != nil {
				t.Errorf("session %d: %v", i, err)
			}
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("session %d (-beside others +alone)\n%s", i, diff)
			}
		})
	}
	wg.Wait()
	testkit.Eventually(t, "all is free, and no goroutine is left", func() bool {
		s := statusOf(t, r.Runtime, llm)
		return s.Leases == 0 && s.Queued == 0 && s.Sessions == 0 && runtime.NumGoroutine() <= goroutines
	})
	if n := r.starts.Load(); n != 1 {
		t.Errorf("%d workers were started, want 1", n)
	}
}

// TestReal_RandomSchedules: rounds of sessions side by side, between which the model parks and once of which the worker
// is killed. Who is not hit by the kill gets the answers that it would get alone.
func TestReal_RandomSchedules(t *testing.T) {
	models := catalogue{}
	llm := models.add("llm", tinyFile(t))
	r := startReal(t, models, func(c *Config) { c.Slots, c.IdleAfter = 3, time.Millisecond })
	want, err := talk(t.Context(), r.Runtime, llm, "", conversations[0], whole)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(7, 7))
	for round := range 6 {
		var wg sync.WaitGroup
		for i := range 1 + rnd.IntN(6) {
			ends, cuts := rnd.IntN(2) == 0, rand.New(rand.NewPCG(uint64(round), uint64(i)))
			wg.Go(func() {
				session := fmt.Sprint("session ", i) // the same one in each round, though the parked model has dropped it
				if ends {
					defer r.EndSession(session)
				}
				cut := whole
				if i%2 == 1 {
					cut = func() int { return cuts.IntN(10) }
				}
				got, err := talk(t.Context(), r.Runtime, llm, session, conversations[0], cut)
				switch {
				case round == 3 && errors.Is(err, functions.ErrUnavailable) && functions.Retryable(err): // the kill
				case err != nil:
					t.Errorf("round %d, session %d: %v", round, i, err)
				case i%2 == 0:
					if diff := cmp.Diff(got, want); diff != "" {
						t.Errorf("round %d, session %d (-beside others +alone)\n%s", round, i, diff)
					}
				}
			})
		}
		if round == 3 {
			if err := r.last.Load().Process.Kill(); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
		testkit.Eventually(t, "the model sleeps, with nothing left of a session", func() bool {
			s := statusOf(t, r.Runtime, llm)
			return s.Tier != TierHot && s.Leases == 0 && s.Queued == 0 && s.Sessions == 0
		})
	}
	if text, _, err := answerOf(t.Context(), r.Runtime, llm, ask("what is the capital of france")); err != nil || !strings.Contains(text, "Paris") {
		t.Errorf("afterwards: %q, %v", text, err)
	}
	if n := r.starts.Load(); n != 2 {
		t.Errorf("%d workers were started, want 2", n)
	}
}
