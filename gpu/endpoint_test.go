package gpu

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/openai"
	"github.com/catenary-run/catenary/gpu/openai/openaitest"
)

const endpointURL = "http://models.example/v1"

// addServed names a server's model.
func (c catalogue) addServed(name, served string) functions.Ref {
	m := functions.Model{Name: name, Engine: functions.EngineOpenAI, URL: endpointURL, Served: served}
	c[m.Digest()] = struct {
		model functions.Model
		path  string
	}{model: m}
	return m.Ref()
}

// far is a runtime whose endpoints are on a network in memory.
type far struct {
	*Runtime
	network *openaitest.Network
	llm     functions.Ref // openaitest.Model
	other   functions.Ref // a model that the server does not have
	stop    func()
}

// startFar runs f with a Runtime and a server, if it is not nil, in a bubble.
func startFar(t *testing.T, server http.Handler, change func(*Config), f func(t *testing.T, r far)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		models := catalogue{}
		r := far{network: openaitest.NewNetwork(), llm: models.addServed("llm", openaitest.Model), other: models.addServed("other", "other")}
		if server != nil {
			defer r.network.Serve(server)()
		}
		cfg := Config{Command: noCommand, Dir: "unused", Models: models, Dial: r.network.Dial, Engine: func() error { return functions.ErrNoDevice }}
		if change != nil {
			change(&cfg)
		}
		r.Runtime = New(cfg)
		r.stop = run(t, r.Runtime)
		defer r.stop()
		f(t, r)
	})
}

func TestEndpoint_AnswersWithoutAnEngineOfItsOwn(t *testing.T) {
	s := &openaitest.Server{Words: 3, TokenTime: time.Second}
	startFar(t, s, nil, func(t *testing.T, r far) {
		text, count, err := answerOf(t.Context(), r.Runtime, r.llm, ask("two words"))
		if err != nil || text != words(3) || count != 4 {
			t.Errorf("got %q in %d tokens, %v", text, count, err)
		}
		st := statusOf(t, r.Runtime, r.llm)
		if st.Tier != TierHot || st.Device != endpointURL || st.Slots != DefaultSlots || st.Leases != 0 || st.PromptTokens != 2 || st.ReusedTokens != 1 || st.Why != "" {
			t.Errorf("status %+v", st)
		}
		if err := r.Unavailable(); !errors.Is(err, functions.ErrNoDevice) {
			t.Errorf("files: %v, want ErrNoDevice still", err)
		}
	})
}

// As many calls as there are slots are at the server at once; the others wait here, and no more than may.
func TestEndpoint_SlotsAndQueueAreBounded(t *testing.T) {
	s := &openaitest.Server{Words: 3, TokenTime: time.Second}
	startFar(t, s, func(c *Config) {
		c.Endpoints, c.QueueDepth = []Endpoint{{URL: endpointURL, Slots: 3}}, 5
	}, func(t *testing.T, r far) {
		if err := r.Wake(t.Context(), r.llm); err != nil {
			t.Fatal(err)
		}
		var calls sync.WaitGroup
		for range 8 {
			calls.Go(func() {
				if text, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello")); err != nil || text != words(3) {
					t.Errorf("got %q, %v", text, err)
				}
			})
			synctest.Wait() // until it has a slot or waits
		}
		if _, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello")); !errors.Is(err, functions.ErrQueueFull) {
			t.Errorf("the ninth call: %v, want ErrQueueFull", err)
		}
		calls.Wait()
		if most := s.Most.Load(); most != 3 {
			t.Errorf("%d calls were at the server at once, want 3", most)
		}
	})
}

// Whatever a server does, its caller gets one clear error, its slot is free again, and the next call is answered.
func TestEndpoint_FaultsWedgeNothing(t *testing.T) {
	for _, prompt := range []string{
		openaitest.HangSilent, openaitest.Hang, openaitest.Ping, openaitest.Cut, openaitest.EarlyEnd, openaitest.Nonsense, openaitest.ErrorEvent,
		openaitest.EndlessLine, openaitest.EndlessEvent, openaitest.NoStream, openaitest.Page, openaitest.EndlessFault, openaitest.Filter,
		openaitest.Status + "401", openaitest.Status + "404", openaitest.Status + "429", openaitest.Status + "500", openaitest.Status + "307",
	} {
		t.Run(prompt, func(t *testing.T) {
			s := &openaitest.Server{Words: 3}
			startFar(t, s, func(c *Config) { c.Slots = 1 }, func(t *testing.T, r far) {
				_, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask(prompt))
				if err == nil || functions.CodeOf(err) == functions.CodeInternal || !strings.HasPrefix(err.Error(), "model llm: ") || !strings.Contains(err.Error(), endpointURL) {
					t.Errorf("got %v", err)
				}
				if text, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello")); err != nil || text != words(3) {
					t.Errorf("the next call: %q, %v", text, err)
				}
				if st := statusOf(t, r.Runtime, r.llm); st.Tier != TierHot || st.Leases != 0 {
					t.Errorf("status %+v", st)
				}
			})
		})
	}
}

// A server that is not there is said to be so, is not asked for every call, and is found when it comes.
func TestEndpoint_NotThere(t *testing.T) {
	startFar(t, nil, nil, func(t *testing.T, r far) {
		_, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello"))
		if !errors.Is(err, functions.ErrColdStart) || !functions.Retryable(err) || !strings.Contains(err.Error(), endpointURL) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v", err)
		}
		if st := statusOf(t, r.Runtime, r.llm); st.Tier != TierUnavailable || !strings.Contains(st.Why, "refused") {
			t.Errorf("status %+v", st)
		}
		dialled := r.network.Dialled.Load()
		for range 1000 {
			if _, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello")); err == nil || !strings.Contains(err.Error(), "refused") {
				t.Fatalf("got %v", err)
			}
		}
		if more := r.network.Dialled.Load() - dialled; more > 1 {
			t.Errorf("it was dialled %d times for calls right after", more)
		}
		defer r.network.Serve(&openaitest.Server{Words: 3})()
		time.Sleep(defaultPolicy.backoffMax)
		if text, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello")); err != nil || text != words(3) {
			t.Errorf("now it is there: %q, %v", text, err)
		}
		if st := statusOf(t, r.Runtime, r.llm); st.Tier != TierHot || st.Why != "" {
			t.Errorf("status %+v", st)
		}
	})
}

// When a server dies each call in flight gets one retryable error, and the next ones find it again.
func TestEndpoint_DiesAndComesBack(t *testing.T) {
	startFar(t, nil, nil, func(t *testing.T, r far) {
		s := &openaitest.Server{Words: 100, TokenTime: time.Second}
		die := r.network.Serve(s)
		var calls sync.WaitGroup
		for range 3 {
			calls.Go(func() {
				text, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello"))
				if !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err) {
					t.Errorf("got %q, %v, want ErrUnavailable", text, err)
				}
			})
		}
		time.Sleep(10 * time.Second)
		die()
		calls.Wait()
		if _, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello")); !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err) {
			t.Errorf("nobody is there: got %v, want ErrUnavailable", err)
		}
		synctest.Wait()
		if st := statusOf(t, r.Runtime, r.llm); st.Tier != TierUnavailable || !strings.Contains(st.Why, "refused") {
			t.Errorf("status %+v", st)
		}
		s = &openaitest.Server{Words: 3}
		defer r.network.Serve(s)()
		time.Sleep(defaultPolicy.backoffMax)
		if text, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello")); err != nil || text != words(3) {
			t.Errorf("it is back: %q, %v", text, err)
		}
	})
}

// A caller that goes away, closes its answer or runs out of time frees slot and server at once.
func TestEndpoint_CancelReachesTheServerAtOnce(t *testing.T) {
	for _, prompt := range []string{"hello", openaitest.Hang, openaitest.HangSilent} {
		t.Run(prompt, func(t *testing.T) {
			s := &openaitest.Server{Words: 1000, TokenTime: time.Second}
			startFar(t, s, func(c *Config) { c.Slots = 1 }, func(t *testing.T, r far) {
				free := func(what string, cancelled int64) {
					t.Helper()
					synctest.Wait()
					if st := statusOf(t, r.Runtime, r.llm); s.Now.Load() != 0 || s.Cancelled.Load() != cancelled || st.Leases != 0 {
						t.Errorf("%s: %d answers at the server, %d cancelled, status %+v", what, s.Now.Load(), s.Cancelled.Load(), st)
					}
				}
				tokens, err := r.Generate(t.Context(), r.llm, ask(prompt))
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Second)
				tokens.Close()
				free("closed", 1)

				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began := time.Now()
				if _, _, err := answerOf(ctx, r.Runtime, r.llm, ask(prompt)); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
					t.Errorf("got %v after %v, want the deadline", err, time.Since(began))
				}
				free("deadline", 2)
			})
		})
	}
}

// The end of Run ends answers that go on, whatever the server does.
func TestEndpoint_EndOfRun(t *testing.T) {
	for _, prompt := range []string{"hello", openaitest.Hang, openaitest.HangSilent} {
		t.Run(prompt, func(t *testing.T) {
			s := &openaitest.Server{Words: 1000, TokenTime: time.Second}
			startFar(t, s, nil, func(t *testing.T, r far) {
				time.AfterFunc(5*time.Second, r.stop)
				began := time.Now()
				if _, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask(prompt)); !errors.Is(err, functions.ErrClosed) || time.Since(began) > 6*time.Second {
					t.Errorf("got %v after %v, want ErrClosed", err, time.Since(began))
				}
			})
		})
	}
}

// A reader that takes its time holds the server.
func TestEndpoint_SlowReaderHoldsTheServer(t *testing.T) {
	s := &openaitest.Server{Words: 10000}
	startFar(t, s, nil, func(t *testing.T, r far) {
		tokens, err := r.Generate(t.Context(), r.llm, ask("hello"))
		if err != nil {
			t.Fatal(err)
		}
		defer tokens.Close()
		if _, err := tokens.Recv(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if sent := s.Sent.Load(); sent > 300 {
			t.Errorf("%d words were sent to a reader of one", sent)
		}
		if _, count, _, err := read(t.Context(), tokens); err != nil || count != 10000 {
			t.Errorf("%d more tokens, %v", count, err)
		}
	})
}

// A model that nobody uses is parked, and its server is checked before it counts as awake again.
func TestEndpoint_IsCheckedBeforeItIsAwake(t *testing.T) {
	startFar(t, nil, func(c *Config) { c.IdleAfter = time.Minute }, func(t *testing.T, r far) {
		stop := r.network.Serve(&openaitest.Server{Words: 3})
		if _, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello")); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute)
		if st := statusOf(t, r.Runtime, r.llm); st.Tier != TierParked {
			t.Errorf("status %+v", st)
		}
		stop()
		defer r.network.Serve(&openaitest.Server{Words: 3, LoadTime: time.Minute})()
		if err := r.Wake(t.Context(), r.llm); !errors.Is(err, functions.ErrUnavailable) || !strings.Contains(err.Error(), "Loading model") {
			t.Errorf("a server that loads: %v", err)
		}
		if st := statusOf(t, r.Runtime, r.llm); st.Tier == TierHot || !strings.Contains(st.Why, "Loading model") {
			t.Errorf("status %+v", st)
		}
		time.Sleep(time.Minute)
		if err := r.Wake(t.Context(), r.llm); err != nil {
			t.Error(err)
		}
	})
}

// Prepare asks for one token, once.
func TestEndpoint_Prepare(t *testing.T) {
	s := &openaitest.Server{Words: 3}
	startFar(t, s, nil, func(t *testing.T, r far) {
		for range 2 {
			if err := r.Prepare(t.Context(), r.llm); err != nil {
				t.Error(err)
			}
			if asked, sent := s.Requests.Load(), s.Sent.Load(); asked != 1 || sent != 1 {
				t.Errorf("%d requests for %d words, want one for one", asked, sent)
			}
			if err := r.Prepare(t.Context(), r.other); err == nil || functions.Retryable(err) || !strings.Contains(err.Error(), "The model `other` does not exist.") {
				t.Errorf("a model that the server has not: %v", err)
			}
		}
	})
}

// A wrong key is the node's fault, told with its remedy, and the key is nowhere.
func TestEndpoint_Key(t *testing.T) {
	for _, tt := range []struct {
		name, env, want string
		key             openai.Key
	}{
		{"none", "", "give " + endpointURL + " a key_env or a key_file in the file of catenary serve --endpoints", openai.Key{}},
		{"wrong", "wrong-secret", "put the right one into the environment variable CATENARY_TEST_KEY", openai.Key{Env: "CATENARY_TEST_KEY"}},
		{"not set", "", "its key should be in the environment variable CATENARY_TEST_KEY, and there is none", openai.Key{Env: "CATENARY_TEST_KEY"}},
		{"right", "right-secret", "", openai.Key{Env: "CATENARY_TEST_KEY"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CATENARY_TEST_KEY", tt.env)
			startFar(t, &openaitest.Server{Words: 3, Key: "right-secret"}, func(c *Config) {
				c.Endpoints = []Endpoint{{URL: endpointURL, Key: tt.key}}
			}, func(t *testing.T, r far) {
				_, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello"))
				if tt.want == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if err == nil || functions.Retryable(err) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v", err)
				}
				st := statusOf(t, r.Runtime, r.llm)
				if st.Tier != TierUnavailable || !strings.Contains(st.Why, tt.want) {
					t.Errorf("status %+v", st)
				}
				if text := fmt.Sprint(err, st); strings.Contains(text, "secret") {
					t.Errorf("the key is told: %s", text)
				}
			})
		})
	}
}

func TestEndpoint_Validate(t *testing.T) {
	good := Endpoint{URL: endpointURL, Key: openai.Key{File: "f"}, Slots: 4}
	for name, endpoints := range map[string][]Endpoint{
		"no url":   {{}},
		"a secret": {{URL: "http://me:secret@h/v1"}},
		"two keys": {{URL: endpointURL, Key: openai.Key{Env: "E", File: "f"}}},
		"slots":    {{URL: endpointURL, Slots: maxSlots + 1}},
		"twice":    {good, good},
	} {
		cfg := Config{Command: noCommand, Dir: "unused", Models: catalogue{}, Endpoints: endpoints}
		if err := cfg.Validate(); !errors.Is(err, functions.ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}
