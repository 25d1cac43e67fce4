package gpu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
)

// in makes a request one of a session.
func in(session string, req functions.Generation) functions.Generation {
	req.Session = session
	return req
}

func TestSlotsAreLentSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{slots: 3, tokens: 2, tokenTime: time.Second}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		if err := r.Wake(t.Context(), llm); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var wg sync.WaitGroup
		for range 7 {
			wg.Go(func() {
				if _, _, err := answerOf(t.Context(), r, llm, ask("x")); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if s := statusOf(t, r, llm); s.Leases != 3 || s.Queued != 4 || s.Slots != 3 {
			t.Errorf("%+v, want three slots, all lent, and four calls that wait", s)
		}
		wg.Wait()
		if took := time.Since(began); took != 6*time.Second || f.most.Load() != 3 {
			t.Errorf("took %v with %d at the same time, want three rounds of three", took, f.most.Load())
		}
		if s := statusOf(t, r, llm); s.Leases != 0 || s.Queued != 0 {
			t.Errorf("%+v, want all free", s)
		}
	})
}

func TestSessionIsKeptAndReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{slots: 2, tokens: 1}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		var prompt, reused int64
		steps := []struct {
			session, say string
			reused       int64
			kept         []string
		}{
			{"a", "one", 0, []string{"a"}},
			{"a", "one two three", 1, []string{"a"}},
			{"", "one two three", 0, []string{"a"}},
			{"b", "one two three", 0, []string{"a", "b"}},
			{"a", "one two three four", 3, []string{"a", "b"}},
			{"c", "one", 0, []string{"a", "c"}}, // takes b's: a was used later
			{"", "one", 0, []string{"c"}},       // takes a's
			{"a", "one two three four", 0, []string{"a", "c"}},
		}
		for _, step := range steps {
			if _, _, err := answerOf(t.Context(), r, llm, in(step.session, ask(step.say))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			prompt += int64(len(strings.Fields(step.say)))
			reused += step.reused
			if s := statusOf(t, r, llm); s.PromptTokens != prompt || s.ReusedTokens != reused || s.Sessions != len(step.kept) {
				t.Errorf("%q of %q: %d of %d tokens reused, %d sessions, want %d of %d and %d",
					step.say, step.session, s.ReusedTokens, s.PromptTokens, s.Sessions, reused, prompt, len(step.kept))
			}
			if diff := cmp.Diff(f.kept(), step.kept); diff != "" {
				t.Errorf("%q of %q: kept (-got +want)\n%s", step.say, step.session, diff)
			}
		}
	})
}

func TestEndSessionFreesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm, other := models.add("llm", "x"), models.add("other", "x")
		f := &fake{slots: 2, tokens: 3, tokenTime: time.Second}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		r.EndSession("")
		r.EndSession("nobody")
		for _, ref := range []functions.Ref{llm, other} {
			for _, session := range []string{"a", "b"} {
				if _, _, err := answerOf(t.Context(), r, ref, in(session, ask("x"))); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.EndSession("a")
		if s := statusOf(t, r, llm); s.Sessions != 1 {
			t.Errorf("%+v right after the end, want one session", s)
		}
		synctest.Wait()
		if diff := cmp.Diff(f.kept(), []string{"b", "b"}); diff != "" {
			t.Errorf("in the worker (-got +want)\n%s", diff)
		}
		if n := f.forgets.Load(); n != 2 {
			t.Errorf("the worker was told %d times, want once for each model", n)
		}

		// One that is in the middle of an answer goes with it.
		tokens, err := r.Generate(t.Context(), llm, in("b", ask("x")))
		if err != nil {
			t.Fatal(err)
		}
		r.EndSession("b")
		if s := statusOf(t, r, llm); s.Sessions != 1 || s.Leases != 1 {
			t.Errorf("%+v, want the session for as long as its answer", s)
		}
		if text, _, _, err := read(t.Context(), tokens); err != nil || text != words(3) {
			t.Errorf("the answer: %q, %v", text, err)
		}
		_ = tokens.Close()
		synctest.Wait()
		if s, kept := statusOf(t, r, llm), f.kept(); s.Sessions != 0 || len(kept) != 0 {
			t.Errorf("%+v, and the worker keeps %v, want nothing", s, kept)
		}

		// With the worker gone there is nothing to tell.
		if _, _, err := answerOf(t.Context(), r, llm, in("c", ask("x"))); err != nil {
			t.Fatal(err)
		}
		f.crash()
		told := f.forgets.Load()
		r.EndSession("c")
		synctest.Wait()
		r.EndSession("c")
		if s := statusOf(t, r, llm); s.Sessions != 0 || f.forgets.Load() > told {
			t.Errorf("%+v after the crash, the worker was told %d times", s, f.forgets.Load()-told)
		}
		stop()
		r.EndSession("c")
	})
}

// TestSessionsGoWithWhatHoldsThem: with a parked model and with a dead worker; the next generation reads all anew.
func TestSessionsGoWithWhatHoldsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{slots: 2, tokens: 1}
		r, stop := startFake(t, f, models, func(c *Config) { c.IdleAfter = time.Minute })
		defer stop()
		if err := r.Wake(t.Context(), llm); err != nil {
			t.Fatal(err)
		}
		losses := map[string]func(){
			"park":  func() { time.Sleep(2 * time.Minute) },
			"crash": func() { f.crash(); synctest.Wait() },
		}
		for name, lose := range losses {
			for _, want := range []int64{0, 1} {
				before := statusOf(t, r, llm).ReusedTokens
				if _, _, err := answerOf(t.Context(), r, llm, in("a", ask("one two"))); err != nil {
					t.Fatal(err)
				}
				if got := statusOf(t, r, llm).ReusedTokens - before; got != want {
					t.Errorf("before the %s: %d tokens reused, want %d", name, got, want)
				}
			}
			lose()
			if s := statusOf(t, r, llm); s.Sessions != 0 || s.Slots != 0 || s.Tier == TierHot {
				t.Errorf("after the %s: %+v, want nothing kept", name, s)
			}
		}
	})
}

func TestSecondGenerationOfABusySessionKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{slots: 2, tokens: 2, tokenTime: time.Second}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, _, err := answerOf(t.Context(), r, llm, in("a", ask("x"))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if s, kept := statusOf(t, r, llm), f.kept(); s.Sessions != 1 || len(kept) != 1 || f.most.Load() != 2 {
			t.Errorf("%+v and %v in the worker, %d at the same time, want one session and both side by side", s, kept, f.most.Load())
		}
	})
}

// TestCancelFreesAtOnce: no time passes between the cancel and the next caller's lease, though the decoder is in the
// middle of a token that takes an hour.
func TestCancelFreesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{slots: 1, tokens: 5, tokenTime: time.Hour}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		ctx, cancel := context.WithCancelCause(t.Context())
		tokens, err := r.Generate(ctx, llm, in("a", ask("x")))
		if err != nil {
			t.Fatal(err)
		}
		queued := make(chan functions.Tokens, 1)
		go func() {
			tokens, err := r.Generate(t.Context(), llm, ask("x"))
			if err != nil {
				t.Error(err)
			}
			queued <- tokens
		}()
		synctest.Wait()
		began := time.Now()
		over := fmt.Errorf("turn 3: %w", functions.ErrInterrupted)
		cancel(over)
		synctest.Wait()
		if _, err := tokens.Recv(t.Context()); !errors.Is(err, over) || functions.CodeOf(err) != functions.CodeOf(functions.ErrInterrupted) {
			t.Errorf("got %v, want the cause", err)
		}
		next := <-queued
		if s := statusOf(t, r, llm); s.Leases != 1 || s.Queued != 0 || time.Since(began) != 0 {
			t.Errorf("%+v after %v, want the next caller to have the slot at once", s, time.Since(began))
		}
		_ = next.Close()
		_ = tokens.Close()
		if s := statusOf(t, r, llm); s.Leases != 0 {
			t.Errorf("%+v, want it free", s)
		}
	})
}

// TestDeadlineIsTimeLeft: what a call has waited is no more there when it reaches the worker.
func TestDeadlineIsTimeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{slots: 1, tokens: 100, tokenTime: time.Second, loadTime: 3 * time.Second}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		text, _, err := answerOf(ctx, r, llm, ask("x"))
		if !errors.Is(err, context.DeadlineExceeded) || text != words(6) && text != words(7) {
			t.Errorf("got %q, %v, want what came before the deadline, and that", text, err)
		}
		if left := time.Duration(f.timeLeft.Load()); left != 7*time.Second {
			t.Errorf("the worker was given %v, want the 7 s that a load of 3 s leaves of 10", left)
		}
	})
}

func TestInterruptedWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		llm := models.add("llm", "x")
		f := &fake{slots: 1, tokens: 5, tokenTime: time.Hour}
		r, stop := startFake(t, f, models, nil)
		defer stop()
		holder, err := r.Generate(t.Context(), llm, ask("x"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(functions.ErrInterrupted) })
		began := time.Now()
		if _, err := r.Generate(ctx, llm, ask("x")); !errors.Is(err, functions.ErrInterrupted) || time.Since(began) != time.Minute {
			t.Errorf("got %v after %v, want the cause when it came", err, time.Since(began))
		}
		_ = holder.Close()
	})
}

// TestRandomSchedules: calls with and without sessions, cancels, ends of sessions, parks and crashes, in random order.
// Each answer is whole or a prefix with one error that says why, and afterwards nothing is left.
func TestRandomSchedules(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) { randomSchedule(t, seed) })
	}
}

func randomSchedule(t *testing.T, seed uint64) {
	models := catalogue{}
	refs := []functions.Ref{models.add("llm", "x"), models.add("other", "x")}
	f := &fake{slots: 3, tokens: 50, tokenTime: 10 * time.Millisecond, loadTime: 50 * time.Millisecond}
	r, stop := startFake(t, f, models, func(c *Config) { c.IdleAfter, c.QueueDepth = 300*time.Millisecond, 100 })
	defer stop()
	var wg sync.WaitGroup
	for caller := range 20 {
		rnd := rand.New(rand.NewPCG(seed, uint64(caller)))
		wg.Go(func() {
			session := ""
			if caller%4 != 0 {
				session = fmt.Sprint("session ", caller)
				defer r.EndSession(session)
			}
			for range 6 {
				time.Sleep(time.Duration(rnd.IntN(700)) * time.Millisecond)
				ctx, cancel := context.WithCancelCause(t.Context())
				if rnd.IntN(2) == 0 {
					time.AfterFunc(time.Duration(rnd.IntN(800))*time.Millisecond, func() { cancel(functions.ErrInterrupted) })
				}
				tokens, err := r.Generate(ctx, refs[rnd.IntN(2)], in(session, ask("one two three")))
				if err == nil {
					var text string
					var count int
					if text, count, _, err = readSome(tokens, rnd.IntN(80)); text != words(count) || err == nil && count != 50 {
						t.Errorf("seed %d: %d tokens, %q, %v", seed, count, text, err)
					}
					_ = tokens.Close()
				}
				switch {
				case err == nil, errors.Is(err, errEnough):
				case errors.Is(err, functions.ErrInterrupted):
				case errors.Is(err, functions.ErrUnavailable) && functions.Retryable(err):
				default:
					t.Errorf("seed %d: %v", seed, err)
				}
				cancel(nil)
			}
		})
	}
	wg.Go(func() {
		rnd := rand.New(rand.NewPCG(seed, 1000))
		for range rnd.IntN(4) {
			time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond)
			f.mu.Lock()
			up := f.last != nil
			f.mu.Unlock()
			if up {
				f.crash()
			}
		}
	})
	wg.Wait()
	synctest.Wait()
	for _, s := range r.Status() {
		if s.Leases != 0 || s.Queued != 0 || s.Sessions != 0 {
			t.Errorf("seed %d: left behind: %+v", seed, s)
		}
	}
	if kept := f.kept(); len(kept) != 0 {
		t.Errorf("seed %d: the worker keeps %v", seed, kept)
	}
	if n := f.now.Load(); n != 0 {
		t.Errorf("seed %d: %d answers are under way in the worker", seed, n)
	}
	// Once more, and then all goes to sleep. A goroutine that is left would keep the bubble from ending.
	for _, ref := range refs {
		if text, _, err := answerOf(t.Context(), r, ref, ask("x")); err != nil || text != words(50) {
			t.Errorf("seed %d: afterwards: %q, %v", seed, text, err)
		}
	}
	time.Sleep(time.Second)
	for _, s := range r.Status() {
		if s.Tier != TierParked {
			t.Errorf("seed %d: %+v, want it parked", seed, s)
		}
	}
}

var errEnough = errors.New("the reader has enough")

// readSome reads up to most tokens, and then says errEnough.
func readSome(tokens functions.Tokens, most int) (text string, count int, finish string, err error) {
	for range most {
		token, err := tokens.Recv(context.Background())
		if err == io.EOF {
			return text, count, finish, nil
		}
		if err != nil {
			return text, count, finish, err
		}
		text, finish = text+token.Text, token.Finish
		count++
	}
	return text, count, finish, errEnough
}
