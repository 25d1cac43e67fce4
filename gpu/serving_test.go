package gpu

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/openai"
	"github.com/catenary-run/catenary/gpu/openai/openaitest"
)

// fakeServing starts processes that are a server on a network in memory.
type fakeServing struct {
	network   *openaitest.Network
	server    func() *openaitest.Server // a new one for each start
	startTime time.Duration             // until it listens
	dies      bool                      // before that
	deaf      bool                      // to SIGTERM

	starts atomic.Int64
	live   atomic.Int64
	asleep atomic.Int64 // requests that came while the process was stopped

	mu      sync.Mutex // guards the fields below
	last    *openaitest.Server
	signals []syscall.Signal
	crash   func()
}

// launch is a Runtime's spawnServer.
func (f *fakeServing) launch(Endpoint) (*serving, error) {
	f.starts.Add(1)
	f.live.Add(1)
	server := f.server()
	var stopped atomic.Bool
	done, killed := make(chan struct{}), make(chan struct{})
	kill := sync.OnceFunc(func() { close(killed) })
	f.mu.Lock()
	f.last, f.crash = server, kill
	f.mu.Unlock()
	go func() {
		defer close(done)
		defer f.live.Add(-1)
		select {
		case <-time.After(f.startTime):
		case <-killed:
			return
		}
		if f.dies {
			return
		}
		stop := f.network.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if stopped.Load() {
				f.asleep.Add(1)
			}
			server.ServeHTTP(w, r)
		}))
		<-killed
		stop()
	}()
	return &serving{done: done, exit: func() string { return "exit status 3: illegal memory access" }, signal: func(sig syscall.Signal) {
		f.mu.Lock()
		f.signals = append(f.signals, sig)
		f.mu.Unlock()
		switch sig {
		case syscall.SIGSTOP:
			stopped.Store(true)
		case syscall.SIGCONT:
			stopped.Store(false)
		case syscall.SIGTERM:
			if !f.deaf {
				kill()
			}
		case syscall.SIGKILL:
			kill()
		}
	}}, nil
}

func (f *fakeServing) state() (last *openaitest.Server, signals []syscall.Signal, crash func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last, slices.Clone(f.signals), f.crash
}

// supervised runs f with a Runtime that starts its endpoint by fake. When f returns no process may stay.
func supervised(t *testing.T, fake *fakeServing, change func(*Endpoint), f func(t *testing.T, r far)) {
	t.Helper()
	e := Endpoint{URL: endpointURL, Command: []string{"fake"}}
	if change != nil {
		change(&e)
	}
	startFar(t, nil, func(c *Config) { c.Endpoints, c.IdleAfter = []Endpoint{e}, time.Minute }, func(t *testing.T, r far) {
		fake.network = r.network
		r.mu.Lock()
		r.spawnServer = fake.launch
		r.mu.Unlock()
		f(t, r)
		r.stop()
		if n := fake.live.Load(); n != 0 {
			t.Errorf("%d processes live on", n)
		}
		if n := fake.asleep.Load(); n != 0 {
			t.Errorf("%d requests went to a stopped process", n)
		}
	})
}

func plainServer() *openaitest.Server { return &openaitest.Server{Words: 3, TokenTime: time.Second} }
func vllm() *openaitest.Server {
	return &openaitest.Server{Words: 3, TokenTime: time.Second, SleepMode: true}
}

func wantAnswer(t *testing.T, r far, when string) {
	t.Helper()
	if text, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello")); err != nil || text != words(3) {
		t.Errorf("%s: got %q, %v", when, text, err)
	}
}

// A server is started by the first call, once for all who wait, and they wait until it is ready.
func TestServing_StartsOnDemand(t *testing.T) {
	fake := &fakeServing{startTime: 2 * time.Minute, server: func() *openaitest.Server {
		return &openaitest.Server{Words: 3, LoadTime: 3 * time.Minute}
	}}
	supervised(t, fake, nil, func(t *testing.T, r far) {
		time.Sleep(time.Hour)
		if n := fake.starts.Load(); n != 0 {
			t.Errorf("%d starts before anybody called", n)
		}
		began := time.Now()
		var calls sync.WaitGroup
		for range 5 {
			calls.Go(func() { wantAnswer(t, r, "the first call") })
		}
		calls.Wait()
		if took := time.Since(began); took < 5*time.Minute || took > 5*time.Minute+5*time.Second || fake.starts.Load() != 1 {
			t.Errorf("%d starts; answered after %v", fake.starts.Load(), took)
		}
		if st := statusOf(t, r.Runtime, r.llm); st.Tier != TierHot || st.WakeTime < 5*time.Minute {
			t.Errorf("status %+v", st)
		}
	})
}

// The end of Run ends a start, too.
func TestServing_EndOfRunDuringAStart(t *testing.T) {
	fake := &fakeServing{startTime: time.Hour, server: plainServer}
	supervised(t, fake, nil, func(t *testing.T, r far) {
		time.AfterFunc(time.Minute, r.stop)
		began := time.Now()
		if _, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello")); !errors.Is(err, functions.ErrClosed) || time.Since(began) > 2*time.Minute {
			t.Errorf("got %v after %v, want ErrClosed", err, time.Since(began))
		}
	})
}

// A server that does not get ready in time is ended, and asks politely first.
func TestServing_StartLimit(t *testing.T) {
	fake := &fakeServing{startTime: time.Hour, server: plainServer, deaf: true}
	supervised(t, fake, func(e *Endpoint) { e.StartLimit = 3 * time.Minute }, func(t *testing.T, r far) {
		began := time.Now()
		_, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello"))
		if !errors.Is(err, functions.ErrColdStart) || !functions.Retryable(err) || !strings.Contains(err.Error(), "not ready after 3m0s") || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > 4*time.Minute {
			t.Errorf("it took %v", took)
		}
		if _, signals, _ := fake.state(); !slices.Equal(signals, []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT, syscall.SIGKILL}) || fake.live.Load() != 0 {
			t.Errorf("%d processes live after signals %v", fake.live.Load(), signals)
		}
	})
}

// A server that ends again and again is started at growing intervals, and whoever calls is told at once how it ended.
func TestServing_CrashLoopIsSlowedDown(t *testing.T) {
	fake := &fakeServing{startTime: time.Millisecond, dies: true, server: plainServer}
	supervised(t, fake, nil, func(t *testing.T, r far) {
		for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			began := time.Now()
			_, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello"))
			if !errors.Is(err, functions.ErrColdStart) || !functions.Retryable(err) || !strings.Contains(err.Error(), "exit status 3: illegal memory access") || time.Since(began) > 2*time.Second {
				t.Fatalf("got %v after %v", err, time.Since(began))
			}
		}
		if n := fake.starts.Load(); n < 20 || n > 45 {
			t.Errorf("%d starts in 5 minutes", n)
		}
		if st := statusOf(t, r.Runtime, r.llm); st.Tier != TierUnavailable || !strings.Contains(st.Why, "illegal memory access") {
			t.Errorf("status %+v", st)
		}
		fake.dies = false
		time.Sleep(defaultPolicy.backoffMax)
		wantAnswer(t, r, "it stays")
	})
}

// When the process ends under its calls, each of them gets one retryable error that says how, and the next starts another.
func TestServing_CrashFailsTheCallsInFlight(t *testing.T) {
	fake := &fakeServing{server: func() *openaitest.Server { return &openaitest.Server{Words: 3, TokenTime: 10 * time.Second} }}
	supervised(t, fake, nil, func(t *testing.T, r far) {
		wantAnswer(t, r, "before")
		began := time.Now()
		if _, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask(openaitest.Status+"500")); !errors.Is(err, functions.ErrUnavailable) || time.Since(began) > 0 {
			t.Errorf("an error that is no crash: got %v after %v", err, time.Since(began))
		}
		var calls sync.WaitGroup
		for range 3 {
			calls.Go(func() {
				_, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello"))
				if !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err) || !strings.Contains(err.Error(), "ended during the call (exit status 3: illegal memory access)") {
					t.Errorf("got %v", err)
				}
			})
		}
		time.Sleep(15 * time.Second)
		_, _, crash := fake.state()
		crash()
		calls.Wait()
		wantAnswer(t, r, "after")
		if n := fake.starts.Load(); n != 2 {
			t.Errorf("%d starts, want 2", n)
		}
	})
}

// A server with a sleep mode sleeps while nobody uses it, is woken by need, and ends when nobody has for long.
func TestServing_SleepsAndWakes(t *testing.T) {
	fake := &fakeServing{server: vllm}
	supervised(t, fake, nil, func(t *testing.T, r far) {
		for i := range int64(3) {
			wantAnswer(t, r, "awake")
			time.Sleep(2 * time.Minute)
			s, _, _ := fake.state()
			if st := statusOf(t, r.Runtime, r.llm); st.Tier != TierParked || !s.Sleeping() || s.Sleeps.Load() != i+1 || s.Wakes.Load() != i {
				t.Errorf("idle: sleeping %v after %d sleeps and %d wakes, status %+v", s.Sleeping(), s.Sleeps.Load(), s.Wakes.Load(), st)
			}
		}
		time.Sleep(2 * time.Hour)
		_, signals, _ := fake.state()
		if st := statusOf(t, r.Runtime, r.llm); st.Tier != TierCold || st.Why != "" || fake.live.Load() != 0 || signals[0] != syscall.SIGTERM {
			t.Errorf("%d processes live after signals %v, status %+v", fake.live.Load(), signals, st)
		}
		wantAnswer(t, r, "cold")
		if n := fake.starts.Load(); n != 2 {
			t.Errorf("%d starts, want 2", n)
		}
	})
}

// A server without a sleep mode is stopped while nobody uses it.
func TestServing_IsStoppedWhereItCantSleep(t *testing.T) {
	fake := &fakeServing{server: plainServer}
	supervised(t, fake, nil, func(t *testing.T, r far) {
		wantAnswer(t, r, "awake")
		time.Sleep(2 * time.Minute)
		wantAnswer(t, r, "woken")
		time.Sleep(2 * time.Minute)
		if _, signals, _ := fake.state(); !slices.Equal(signals, []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT, syscall.SIGSTOP}) {
			t.Errorf("signals %v", signals)
		}
	})
}

// What can't be put to sleep, or can't wake, is ended, and the next call finds a new one.
func TestServing_ASleepThatFailsIsAStart(t *testing.T) {
	first := true
	once := func(s *openaitest.Server) func() *openaitest.Server {
		return func() *openaitest.Server {
			if first {
				first = false
				return s
			}
			return vllm()
		}
	}
	for name, bad := range map[string]*openaitest.Server{
		"can't wake": {Words: 3, SleepMode: true, WakeFails: true},
		"can't rest": {Words: 3, SleepMode: true, SleepHangs: true},
	} {
		t.Run(name, func(t *testing.T) {
			first = true
			fake := &fakeServing{server: once(bad)}
			supervised(t, fake, nil, func(t *testing.T, r far) {
				wantAnswer(t, r, "awake")
				time.Sleep(5 * time.Minute)
				if bad.WakeFails {
					_, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello"))
					if !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err) || !strings.Contains(err.Error(), "out of memory") {
						t.Errorf("got %v", err)
					}
				}
				wantAnswer(t, r, "anew")
				if n := fake.starts.Load(); n != 2 {
					t.Errorf("%d starts, want 2", n)
				}
			})
		})
	}
}

// Two models of one server share its process, which rests when neither is used.
func TestServing_ModelsShareAProcess(t *testing.T) {
	fake := &fakeServing{server: vllm}
	supervised(t, fake, nil, func(t *testing.T, r far) {
		if err := r.Wake(t.Context(), r.other); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			time.Sleep(50 * time.Second)
			wantAnswer(t, r, "awake")
		}
		s, _, _ := fake.state()
		if st := statusOf(t, r.Runtime, r.other); st.Tier != TierParked || s.Sleeping() {
			t.Errorf("one is used: sleeping %v, status of the other %+v", s.Sleeping(), st)
		}
		time.Sleep(2 * time.Minute)
		if !s.Sleeping() || fake.starts.Load() != 1 {
			t.Errorf("none is used: sleeping %v after %d starts", s.Sleeping(), fake.starts.Load())
		}
		wantAnswer(t, r, "woken")
	})
}

// A model that could not be loaded does not keep its server alive.
func TestServing_AFailedLoadHoldsNothing(t *testing.T) {
	fake := &fakeServing{server: plainServer}
	supervised(t, fake, nil, func(t *testing.T, r far) {
		wantAnswer(t, r, "well")
		s, _, _ := fake.state()
		s.Unwell.Store(true)
		if err := r.Wake(t.Context(), r.other); !errors.Is(err, functions.ErrUnavailable) || !strings.Contains(err.Error(), "unwell") {
			t.Errorf("got %v", err)
		}
		s.Unwell.Store(false)
		time.Sleep(2 * time.Hour)
		if n := fake.live.Load(); n != 0 {
			t.Errorf("%d processes live", n)
		}
	})
}

// Who asks for one model while the server is being ended, since nobody needed another, gets the next server.
func TestServing_AskedWhileItEnds(t *testing.T) {
	fake := &fakeServing{server: plainServer, deaf: true} // so that it takes its time
	supervised(t, fake, nil, func(t *testing.T, r far) {
		wantAnswer(t, r, "well")
		time.Sleep(time.Minute + defaultPolicy.coldAfter + serverStopLimit/2)
		if _, signals, _ := fake.state(); !slices.Contains(signals, syscall.SIGTERM) || fake.live.Load() != 1 {
			t.Fatalf("it should be about to end: %d live after signals %v", fake.live.Load(), signals)
		}
		if err := r.Wake(t.Context(), r.other); err != nil {
			t.Error(err)
		}
		if n := fake.starts.Load(); n != 2 {
			t.Errorf("%d starts, want 2", n)
		}
	})
}

// Nothing is started, and no key is told, where somebody else listens.
func TestServing_SomebodyElseListens(t *testing.T) {
	fake := &fakeServing{server: plainServer}
	supervised(t, fake, func(e *Endpoint) { e.Key = openai.Key{Env: "HOME"} }, func(t *testing.T, r far) {
		var asked atomic.Int64
		stop := r.network.Serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
		_, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask("hello"))
		if err == nil || !strings.Contains(err.Error(), "somebody listens there already") || asked.Load() != 0 || fake.starts.Load() != 0 {
			t.Errorf("got %v after %d requests and %d starts", err, asked.Load(), fake.starts.Load())
		}
		stop()
	})
}

// Whatever happens in whatever order, an answer is whole or a clear error, no request reaches a process that rests, and
// nothing is left.
func TestServing_RandomSchedules(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			fake := &fakeServing{startTime: time.Second, server: func() *openaitest.Server {
				return &openaitest.Server{Words: 3, TokenTime: 100 * time.Millisecond, SleepMode: seed%2 == 0}
			}}
			supervised(t, fake, nil, func(t *testing.T, r far) {
				var calls sync.WaitGroup
				for range 60 {
					switch rnd.IntN(10) {
					case 0:
						time.Sleep(time.Duration(rnd.IntN(3)) * time.Minute)
					case 1:
						if _, _, crash := fake.state(); crash != nil {
							crash()
						}
					case 2:
						if rnd.IntN(4) == 0 {
							time.Sleep(2 * time.Hour)
						}
					case 3:
						calls.Go(func() {
							if tokens, err := r.Generate(t.Context(), r.llm, ask("hello")); err == nil {
								time.Sleep(150 * time.Millisecond)
								tokens.Close()
							}
						})
					default:
						prompt := []string{"hello", "hello", openaitest.Cut, openaitest.Status + "500", openaitest.Nonsense}[rnd.IntN(5)]
						calls.Go(func() {
							text, _, err := answerOf(t.Context(), r.Runtime, r.llm, ask(prompt))
							if err == nil && text != words(3) || err != nil && functions.CodeOf(err) != functions.CodeOf(functions.ErrUnavailable) &&
								functions.CodeOf(err) != functions.CodeOf(functions.ErrColdStart) {
								t.Errorf("%s: got %q, %v", prompt, text, err)
							}
						})
					}
					time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
				}
				calls.Wait()
				time.Sleep(defaultPolicy.backoffMax)
				wantAnswer(t, r, "in the end")
				if st := statusOf(t, r.Runtime, r.llm); st.Leases != 0 || st.Queued != 0 {
					t.Errorf("status %+v", st)
				}
			})
		})
	}
}
